-- Counts what is in the queue. ARGV: the most lines to list, the lanes. Returns (waiting, aside, leased, 1 when it is
-- paused)* for the lanes, and (line, jobs, milliseconds until its time or -1, reason)*, the longest first.
local now, lanes, longest = now(), {}, {}
for i = 2, #ARGV do
  local lane, n = ARGV[i], #lanes
  for j, what in ipairs({ 'waiting ', 'aside ', 'leased ' }) do
    lanes[n + j] = tonumber(redis.call('HGET', counts, what .. lane) or 0)
  end
  lanes[n + 4] = redis.call('SISMEMBER', prefix .. 'paused', lane)
end
local listed = redis.call('ZREVRANGE', sizes, 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #listed, 2 do
  local line, n = listed[i], #longest
  local at = tonumber(redis.call('ZSCORE', lines, line) or math.huge)
  longest[n + 1], longest[n + 2] = line, tonumber(listed[i + 1])
  longest[n + 3] = at < math.huge and math.max(0, math.floor(at - now)) or -1
  longest[n + 4] = string.match(redis.call('HGET', facts, line) or '', '^%d+ (.*)$') or ''
end
return { lanes, longest }
