-- Forgets jobs that are done. ARGV: (id, token)*. Returns how many were leased with that token.
local finished, to_wake = 0, {}
for i = 1, #ARGV, 2 do
  local id = ARGV[i]
  local entry = redis.call('HGET', jobs, id)
  if entry then
    local job, lane, merchant, token, again = parse(entry)
    if token == ARGV[i + 1] then
      finished = finished + 1
      redis.call('ZREM', leases, id)
      count('leased', lane, -1)
      if again == '' then
        redis.call('HDEL', jobs, id)
      else
        wait_at_the_end(id, job, lane, merchant)
        to_wake[groups[lane]] = true
      end
    end
  end
end
wake_workers(to_wake)
return finished
