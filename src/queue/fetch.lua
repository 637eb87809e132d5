-- Leases jobs. ARGV: room in all, lease in milliseconds, token, the lanes in order, the groups' turns, the turns among
-- mails (each separated by spaces), (group, its room)*. Returns (id, lane, merchant)*.
local room, lease, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now = now()

local function words(text)
  local list = {}
  for word in string.gmatch(text, '%S+') do list[#list + 1] = word end
  return list
end
local lanes, turns, mail_turns = words(ARGV[4]), words(ARGV[5]), words(ARGV[6])
local room_of = {}
for i = 7, #ARGV, 2 do room_of[ARGV[i]] = tonumber(ARGV[i + 1]) end

-- Jobs whose leases expired go to the front of their lanes, the longest expired first.
local expired = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 500)
for i = #expired, 1, -1 do
  local entry = redis.call('HGET', jobs, expired[i])
  if entry then
    local lane, merchant = parse(entry)
    count('leased', lane, -1)
    wait_at_the_front(expired[i], lane, merchant)
  end
end
if #expired > 0 then redis.call('ZREM', leases, unpack(expired)) end

-- Lanes that have something: lane -> how many wait at its front.
local open = {}
for _, lane in ipairs(lanes) do
  if redis.call('SISMEMBER', prefix .. 'paused', lane) == 0 then
    open[lane] = redis.call('LLEN', prefix .. 'front:' .. lane)
  end
end

local function next_of_front(lane)
  while open[lane] > 0 do
    open[lane] = open[lane] - 1
    local id = redis.call('LPOP', prefix .. 'front:' .. lane)
    local entry = redis.call('HGET', jobs, id)
    if entry then
      local _, merchant = parse(entry)
      return id, merchant
    end
  end
end

local function next_of_turns(lane)
  local merchant = redis.call('LPOP', prefix .. 'turns:' .. lane)
  if not merchant then
    open[lane] = nil
    return
  end
  local waiting = prefix .. 'wait:' .. lane .. ':' .. merchant
  local id = redis.call('LPOP', waiting)
  if redis.call('EXISTS', waiting) == 1 then redis.call('RPUSH', prefix .. 'turns:' .. lane, merchant) end
  return id, merchant
end

local function next_of(lane)
  if not open[lane] or room_of[groups[lane]] == 0 then return end
  local id, merchant = next_of_front(lane)
  if not id then id, merchant = next_of_turns(lane) end
  return id, lane, merchant
end

local function next_job(turn, mail_turn)
  local mails = mail_turns[mail_turn + 1]
  local first = ({ mails = mails, callbacks = 'callback', batches = 'batch' })[turns[turn + 1]]
  local id, lane, merchant = next_of(first)
  if not id then id, lane, merchant = next_of(mails) end
  for _, lower in ipairs(lanes) do
    if id then break end
    id, lane, merchant = next_of(lower)
  end
  return id, lane, merchant
end

local turn = tonumber(redis.call('HGET', counts, 'turn') or 0) % #turns
local mail_turn = tonumber(redis.call('HGET', counts, 'mail turn') or 0) % #mail_turns
local fetched, entries, expiries, taken = {}, {}, {}, {}
while #fetched < 3 * room do
  local id, lane, merchant = next_job(turn, mail_turn)
  if not id then break end
  local group = groups[lane]
  room_of[group] = room_of[group] - 1
  turn = (turn + 1) % #turns
  if group == 'mails' then mail_turn = (mail_turn + 1) % #mail_turns end
  local n = #entries
  fetched[#fetched + 1], fetched[#fetched + 2], fetched[#fetched + 3] = id, lane, merchant
  entries[n + 1], entries[n + 2] = id, lane .. ' ' .. merchant .. ' ' .. token
  expiries[n + 1], expiries[n + 2] = now + lease, id
  taken[lane] = (taken[lane] or 0) + 1
end

if #fetched > 0 then
  redis.call('HSET', jobs, unpack(entries))
  redis.call('ZADD', leases, unpack(expiries))
  redis.call('HSET', counts, 'turn', turn, 'mail turn', mail_turn)
  for lane, number in pairs(taken) do
    count('waiting', lane, -number)
    count('leased', lane, number)
  end
end

-- What is left is for another worker.
local left = {}
for lane, front in pairs(open) do
  if front > 0 or redis.call('EXISTS', prefix .. 'turns:' .. lane) == 1 then left[groups[lane]] = true end
end
wake_workers(left)
return fetched
