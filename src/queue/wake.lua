-- Makes the time of lines now. ARGV: lines; without any, up to 500 whose time is later. Returns how many were woken.
local now, woken, to_wake = now(), 0, ARGV
if #ARGV == 0 then to_wake = redis.call('ZRANGEBYSCORE', lines, '(' .. now, '+inf', 'LIMIT', 0, 500) end
for _, line in ipairs(to_wake) do
  if redis.call('ZSCORE', lines, line) then
    redis.call('ZADD', lines, now, line)
    woken = woken + 1
  end
end
if woken > 0 then wake_a_worker('mails') end
return woken
