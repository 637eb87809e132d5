-- Gives back what was not used, then decides about mails in their order: each takes one from all of its scopes, or none
-- from any. It is the arithmetic of allowance.rs, and the names are the same.
--
--   KEYS[2..]   of each limit: STRING "FULL_AT RETURNED", gone when the allowance is whole and nothing can come back
--   ARGV[2]     how many limits there are, then EACH and BURST of each
--   then        how many are given back, then "LIMIT EACH MARK" of each
--   then        "LIMIT LIMIT ..." of each mail; a limit is its number, from 1
--
-- Returns for each mail 0 and the mark of each of its limits; or which of its limits it waits for longest, from 1, and how
-- many microseconds.
local values = redis.call('MGET', unpack(KEYS))
local since = tonumber(values[1])
if not since or since > now + GRACE then since = begin_at(now) end

local full_at, returned, span, each, changed = {}, {}, {}, {}, {}
local limits = tonumber(ARGV[2])
for limit = 1, limits do
  local key = KEYS[limit + 1]
  each[limit] = tonumber(ARGV[2 * limit + 1])
  span[limit] = each[limit] * tonumber(ARGV[2 * limit + 2])
  if not full_at[key] then
    local full, back = string.match(values[limit + 1] or '', '^(%d+) (%d+)$')
    full_at[key], returned[key] = tonumber(full or 0), tonumber(back or 0)
  end
end

local at = 2 * limits + 3
for n = at + 1, at + tonumber(ARGV[at]) do
  local limit, one, mark = string.match(ARGV[n], '^(%d+) (%d+) (%d+)$')
  local key = KEYS[limit + 1]
  local left = math.min(tonumber(one), mark - returned[key] - now, full_at[key] - now)
  if left > 0 then
    full_at[key], returned[key] = full_at[key] - left, returned[key] + left
    changed[key] = math.max(changed[key] or 0, span[tonumber(limit)])
  end
end
at = at + tonumber(ARGV[at])

-- Cuts off what another rate or another time left, as Allowance::at does. Once for each limit: in a script time stands.
local most = {}
local function bring_up_to_date(limit)
  local key = KEYS[limit + 1]
  most[limit] = now + span[limit]
  -- What was taken before `since` is not known. To wait for it longer than a second would be a stop.
  if since <= now then full_at[key] = math.max(full_at[key], since + math.min(span[limit], SECOND)) end
  if full_at[key] > most[limit] then
    returned[key] = returned[key] + full_at[key] - most[limit]
    full_at[key] = most[limit]
    -- Also where nothing is taken: else it would be cut off anew each time, and never come to an end.
    changed[key] = math.max(changed[key] or 0, span[limit])
  end
  full_at[key] = math.max(full_at[key], now)
end

local answers = {}
for n = at + 1, #ARGV do
  local own, longest, slowest = {}, 0, 0
  for limit in string.gmatch(ARGV[n], '%d+') do
    limit = tonumber(limit)
    if not most[limit] then bring_up_to_date(limit) end
    local wait = full_at[KEYS[limit + 1]] + each[limit] - most[limit]
    own[#own + 1] = limit
    if wait > longest then longest, slowest = wait, #own end
  end
  answers[#answers + 1] = slowest
  if slowest > 0 then
    answers[#answers + 1] = longest
  else
    for _, limit in ipairs(own) do
      local key = KEYS[limit + 1]
      full_at[key] = full_at[key] + each[limit]
      answers[#answers + 1] = full_at[key] + returned[key]
      changed[key] = math.max(changed[key] or 0, span[limit])
    end
  end
end

for key, kept in pairs(changed) do
  -- As long as something that was taken may be given back, it must be known what came back before.
  local left = math.ceil((full_at[key] - now + kept) / 1000) + 1
  redis.call('SET', key, written(full_at[key]) .. ' ' .. written(returned[key]), 'PX', written(left))
end
return answers
