-- Gives bells back unstarted. ARGV: (id, token)*, the last one first. Returns how many were leased with that token.
local released, rung = 0, {}
for i = 1, #ARGV, 2 do
  local id = ARGV[i]
  local standing = redis.call('HGET', bells, id)
  if standing then
    local lane, merchant, token = parse(standing)
    if token == ARGV[i + 1] then
      released = released + 1
      redis.call('ZREM', leases, id)
      count('leased', lane, -1)
      wait_at_the_front(id, lane, merchant)
      rung[groups[lane]] = true
    end
  end
end
wake_workers(rung)
return released
