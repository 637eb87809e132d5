-- Tells where jobs are. ARGV: ids. Returns (state, line, milliseconds until its time or -1, reason)*.
local now, places = now(), {}
for _, id in ipairs(ARGV) do
  local entry = redis.call('HGET', jobs, id)
  local state, line, left, reason = 'unknown', '', -1, ''
  if entry then
    local _, _, _, token, rest = parse(entry)
    state = token == '' and 'waiting' or token == '@' and 'line' or 'leased'
    if state == 'line' then
      line = rest
      local at = tonumber(redis.call('ZSCORE', lines, line) or math.huge)
      if at < math.huge then left = math.max(0, math.floor(at - now)) end
      reason = string.match(redis.call('HGET', facts, line) or '', '^%d+ (.*)$') or ''
    end
  end
  local n = #places
  places[n + 1], places[n + 2], places[n + 3], places[n + 4] = state, line, left, reason
end
return places
