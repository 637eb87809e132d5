-- Leases jobs. ARGV: room in all, lease in milliseconds, token, the lanes in order, the groups' turns, the turns among
-- mails (each separated by spaces), how long a line that gave something is left alone and one that could not is, in
-- milliseconds, the most lines to take from, (group, its room)*. Returns milliseconds until the next line's time or -1,
-- whether transactional mails are left (1 or 0), and (id, job, line)*; for the main line that is empty, or '^' for what was
-- at its front.
local room, lease, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local now = now()

local function words(text)
  local list = {}
  for word in string.gmatch(text, '%S+') do list[#list + 1] = word end
  return list
end
local lanes, turns, mail_turns = words(ARGV[4]), words(ARGV[5]), words(ARGV[6])
local asking, look_again, most_lines = ARGV[7], ARGV[8], ARGV[9]
local room_of = {}
for i = 10, #ARGV, 2 do room_of[ARGV[i]] = tonumber(ARGV[i + 1]) end

-- Where this server's clock was set back, times by the clock before are moved with it: they would be waited for as long as it
-- was ahead.
local back = tonumber(redis.call('HGET', counts, 'clock') or 0) - now
if back > 1000 then
  for _, times in ipairs({ leases, lines }) do
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', times, '(' .. now, '(+inf')) do
      redis.call('ZINCRBY', times, -back, member)
    end
  end
end
if math.abs(back) > 1000 then redis.call('HSET', counts, 'clock', now) end

-- Jobs whose leases expired go to the front of their lanes, the longest expired first.
local expired = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 500)
for i = #expired, 1, -1 do
  local entry = redis.call('HGET', jobs, expired[i])
  if entry then
    local job, lane = parse(entry)
    count('leased', lane, -1)
    wait_at_the_front(expired[i], job, lane)
  end
end
if #expired > 0 then redis.call('ZREM', leases, unpack(expired)) end

local paused = {}
for _, lane in ipairs(redis.call('SMEMBERS', prefix .. 'paused')) do paused[lane] = true end

-- What jobs are taken from: the main line, and lines whose time has come. `front` says how many wait at the front of each
-- lane, `is_empty` which lanes have nothing more.
local function source(base, name, may_take)
  return { base = base, name = name, may_take = may_take, taken = 0, front = {}, is_empty = {} }
end
local main, due = source(prefix, '', 500), {}
if room_of.mails > 0 then
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', lines, '-inf', now, 'LIMIT', 0, most_lines)) do
    local at_most = string.match(redis.call('HGET', facts, name) or '', '^%d+')
    due[#due + 1] = source(base_of(name), name, tonumber(at_most or 1))
  end
end

local function next_of_front(from, lane)
  from.front[lane] = from.front[lane] or redis.call('LLEN', from.base .. 'front:' .. lane)
  while from.front[lane] > 0 do
    from.front[lane] = from.front[lane] - 1
    local id = redis.call('LPOP', from.base .. 'front:' .. lane)
    local entry = redis.call('HGET', jobs, id)
    if entry then return id, (parse(entry)) end
  end
end

local function next_of_turns(from, lane)
  local merchant = redis.call('LPOP', from.base .. 'turns:' .. lane)
  if not merchant then
    from.is_empty[lane] = true
    return
  end
  local waiting = from.base .. 'wait:' .. lane .. ':' .. merchant
  local id = redis.call('LPOP', waiting)
  if redis.call('EXISTS', waiting) == 1 then redis.call('RPUSH', from.base .. 'turns:' .. lane, merchant) end
  return id, (parse(redis.call('HGET', jobs, id) or (lane .. ' ' .. merchant .. ' - -')))
end

local function take_from(from, lane)
  if from.taken >= from.may_take or from.is_empty[lane] then return end
  local id, job = next_of_front(from, lane)
  local name = from.name ~= '' and from.name or id and '^' or ''
  if not id then id, job = next_of_turns(from, lane) end
  if id then from.taken = from.taken + 1 end
  return id, job, name
end

local function next_of(lane)
  if paused[lane] or room_of[groups[lane]] == 0 then return end
  if groups[lane] == 'mails' then
    for _, line in ipairs(due) do
      local id, job, name = take_from(line, lane)
      if id then return id, job, lane, name end
    end
  end
  local id, job, name = take_from(main, lane)
  return id, job, lane, name
end

local function next_job(turn, mail_turn)
  local mails = mail_turns[mail_turn + 1]
  local first = ({ mails = mails, callbacks = 'callback', batches = 'batch' })[turns[turn + 1]]
  local id, job, lane, line = next_of(first)
  if not id then id, job, lane, line = next_of(mails) end
  for _, lower in ipairs(lanes) do
    if id then break end
    id, job, lane, line = next_of(lower)
  end
  return id, job, lane, line
end

local turn = tonumber(redis.call('HGET', counts, 'turn') or 0) % #turns
local mail_turn = tonumber(redis.call('HGET', counts, 'mail turn') or 0) % #mail_turns
local fetched, entries, expiries, taken, taken_aside = {}, {}, {}, {}, {}
while #fetched < 3 * room do
  local id, job, lane, line = next_job(turn, mail_turn)
  if not id then break end
  local group = groups[lane]
  room_of[group] = room_of[group] - 1
  turn = (turn + 1) % #turns
  if group == 'mails' then mail_turn = (mail_turn + 1) % #mail_turns end
  local n = #entries
  fetched[#fetched + 1], fetched[#fetched + 2], fetched[#fetched + 3] = id, job, line
  entries[n + 1], entries[n + 2] = id, job .. ' ' .. token
  expiries[n + 1], expiries[n + 2] = now + lease, id
  taken[lane] = (taken[lane] or 0) + 1
  if line ~= '' and line ~= '^' then taken_aside[lane] = (taken_aside[lane] or 0) + 1 end
end

if #fetched > 0 then
  redis.call('HSET', jobs, unpack(entries))
  redis.call('ZADD', leases, unpack(expiries))
  redis.call('HSET', counts, 'turn', turn, 'mail turn', mail_turn)
  for lane, number in pairs(taken) do
    count('waiting', lane, -number)
    count('leased', lane, number)
  end
  for lane, number in pairs(taken_aside) do count('aside', lane, -number) end
end

-- What is left is for another worker.
local left, leaves_single_mails = {}, 0
for _, lane in ipairs(lanes) do
  if not paused[lane] and not main.is_empty[lane] then
    local front = main.front[lane] or redis.call('LLEN', prefix .. 'front:' .. lane)
    if front > 0 or redis.call('EXISTS', prefix .. 'turns:' .. lane) == 1 then
      left[groups[lane]] = true
      if lane == 'transactional' then leaves_single_mails = 1 end
    end
  end
end

-- Lines that gave something are left to the worker that got it, for a while; those that could not are looked at later.
local had_room = #fetched < 3 * room and room_of.mails > 0
for _, line in ipairs(due) do
  local size = tonumber(redis.call('ZSCORE', sizes, line.name) or 0)
  if line.taken > 0 then size = tonumber(redis.call('ZINCRBY', sizes, -line.taken, line.name)) end
  if size <= 0 then
    redis.call('ZREM', lines, line.name)
    redis.call('ZREM', sizes, line.name)
    redis.call('HDEL', facts, line.name)
  elseif line.taken > 0 then
    redis.call('ZADD', lines, now + asking, line.name)
  elseif had_room then
    redis.call('ZADD', lines, now + look_again, line.name)
  end
end

local due_in = -1
local first = redis.call('ZRANGE', lines, 0, 0, 'WITHSCORES')
if first[1] and first[2] ~= 'inf' and (had_room or tonumber(first[2]) <= now) then
  due_in = math.max(0, math.floor(tonumber(first[2]) - now))
  if due_in == 0 and not had_room then
    left.mails = true
    due_in = -1
  end
end
wake_workers(left)

return { due_in, leaves_single_mails, fetched }
