-- Forgets bells whose work is done. ARGV: (id, token)*. Returns how many were leased with that token.
local finished, rung = 0, {}
for i = 1, #ARGV, 2 do
  local id = ARGV[i]
  local standing = redis.call('HGET', bells, id)
  if standing then
    local lane, merchant, token, again = parse(standing)
    if token == ARGV[i + 1] then
      finished = finished + 1
      redis.call('ZREM', leases, id)
      count('leased', lane, -1)
      if again == '' then
        redis.call('HDEL', bells, id)
      else
        wait_at_the_end(id, lane, merchant)
        rung[groups[lane]] = true
      end
    end
  end
end
wake_workers(rung)
return finished
