-- Returns in how many microseconds a process that counted by itself counts here again. Those who come back at about the
-- same time begin at the same moment, so that nobody takes its share and more beside those who take from the whole.
local since = tonumber(redis.call('GET', KEYS[1]))
if not since or since > now + GRACE or since < now - SECOND then since = begin_at(now + GRACE) end
return math.max(0, since - now)
