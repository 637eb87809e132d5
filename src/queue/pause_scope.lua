-- Pauses a scope, unless too many are. ARGV: scope, how long in milliseconds or -1 for no end, reason, the most that may be
-- paused. Returns 1 when it is paused.
local pauses = prefix .. 'pauses'
if redis.call('HEXISTS', pauses, ARGV[1]) == 0 and redis.call('HLEN', pauses) >= tonumber(ARGV[4]) then return 0 end
local until_ms = ARGV[2] == '-1' and 0 or now() + tonumber(ARGV[2])
redis.call('HSET', pauses, ARGV[1], string.format('%.0f', until_ms) .. ' ' .. ARGV[3])
return 1
