-- Gives leased jobs back, to the front of their lanes. ARGV: (id, token)*, the last one first. Returns how many were
-- leased with that token.
local released, to_wake = 0, {}
for i = 1, #ARGV, 2 do
  local id = ARGV[i]
  local entry = redis.call('HGET', jobs, id)
  if entry then
    local job, lane, _, token = parse(entry)
    if token == ARGV[i + 1] then
      released = released + 1
      redis.call('ZREM', leases, id)
      count('leased', lane, -1)
      wait_at_the_front(id, job, lane)
      to_wake[groups[lane]] = true
    end
  end
end
wake_workers(to_wake)
return released
