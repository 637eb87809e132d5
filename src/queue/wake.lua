-- Makes the time of lines now. ARGV: lines, with which those are woken that wait for one of them and something else;
-- without any, up to 500 whose time is later. Returns how many were woken.
local now, woken, to_wake = now(), 0, {}
local later = redis.call('ZRANGEBYSCORE', lines, '(' .. now, '+inf', 'LIMIT', 0, #ARGV == 0 and 500 or 5000)
if #ARGV == 0 then
  to_wake = later
else
  local is_named = {}
  for i, line in ipairs(ARGV) do to_wake[i], is_named[line] = line, true end
  for _, line in ipairs(later) do
    local joined = line .. ' + '
    if string.find(line, ' + ', 1, true) then
      for part in string.gmatch(joined, '(.-) %+ ') do
        if is_named[part] then
          to_wake[#to_wake + 1] = line
          break
        end
      end
    end
  end
end
for _, line in ipairs(to_wake) do
  if redis.call('ZSCORE', lines, line) then
    redis.call('ZADD', lines, now, line)
    woken = woken + 1
  end
end
if woken > 0 then wake_a_worker('mails') end
return woken
