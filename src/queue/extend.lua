-- Extends leases. ARGV: lease in milliseconds, (id, token)*. Returns how many were leased with that token.
local extended, expiry = 0, now() + tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
  local entry = redis.call('HGET', jobs, ARGV[i])
  if entry then
    local _, _, _, token = parse(entry)
    if token == ARGV[i + 1] then
      extended = extended + 1
      redis.call('ZADD', leases, expiry, ARGV[i])
    end
  end
end
return extended
