-- Tells of whom more than a share waits in the main line of a lane. ARGV: the lane, the share. Returns merchants.
local lane, share, crowding = ARGV[1], tonumber(ARGV[2]), {}
for _, merchant in ipairs(redis.call('LRANGE', prefix .. 'turns:' .. lane, 0, -1)) do
  if redis.call('LLEN', prefix .. 'wait:' .. lane .. ':' .. merchant) > share then crowding[#crowding + 1] = merchant end
end
return crowding
