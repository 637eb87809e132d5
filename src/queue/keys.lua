-- Comes before each of the other scripts. KEYS[1] is the prefix: every key begins with it, and it holds the hash tag.
--
--   jobs                HASH  id -> "LANE MERCHANT" while the job waits, "LANE MERCHANT TOKEN" while it is leased,
--                             "LANE MERCHANT TOKEN again" when it was enqueued again meanwhile
--   wait:LANE:MERCHANT  LIST  ids that wait, the oldest first
--   turns:LANE          LIST  merchants with waiting ids, whose turn is next first; each once
--   front:LANE          LIST  ids whose turn has come already: released, or the lease expired
--   leases              ZSET  id -> when its lease expires, in milliseconds of this server's clock
--   counts              HASH  "waiting LANE", "leased LANE" -> how many; "turn", "mail turn" -> whose turn is next
--   paused              SET   lanes that give nothing
--   signal:GROUP        LIST  at most a few elements, each wakes one worker that is blocked for lanes of this group
--   generation          STRING, lost when this server loses its data
--
-- A script sees at most 500 ids, so that none holds up the server.
local prefix = KEYS[1]
local jobs, leases, counts = prefix .. 'jobs', prefix .. 'leases', prefix .. 'counts'

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Returns lane, merchant, token ('' while it waits), again ('' or 'again').
local function parse(entry)
  return string.match(entry, '^(%S+) (%S+) ?(%S*) ?(%S*)$')
end

local function count(what, lane, by)
  redis.call('HINCRBY', counts, what .. ' ' .. lane, by)
end

local groups = { transactional = 'mails', bulk = 'mails', callback = 'callbacks', batch = 'batches' }

local function wake_a_worker(group)
  local signal = prefix .. 'signal:' .. group
  if redis.call('EXISTS', signal) == 0 then redis.call('RPUSH', signal, 1) end
end

local function wake_workers(wanted)
  for group in pairs(wanted) do wake_a_worker(group) end
end

local function wait_at_the_end(id, lane, merchant)
  redis.call('HSET', jobs, id, lane .. ' ' .. merchant)
  if redis.call('RPUSH', prefix .. 'wait:' .. lane .. ':' .. merchant, id) == 1 then
    redis.call('RPUSH', prefix .. 'turns:' .. lane, merchant)
  end
  count('waiting', lane, 1)
end

local function wait_at_the_front(id, lane, merchant)
  redis.call('HSET', jobs, id, lane .. ' ' .. merchant)
  redis.call('LPUSH', prefix .. 'front:' .. lane, id)
  count('waiting', lane, 1)
end
