-- Comes before each of the other scripts. KEYS[1] is the prefix: every key begins with it, and it holds the hash tag.
--
--   jobs                HASH  id -> "JOB" while it waits in the main line, "JOB @ LINE" while it is set aside, "JOB TOKEN"
--                             while it is leased, "JOB TOKEN again" when it was enqueued again meanwhile; JOB is
--                             "LANE MERCHANT RECIPIENT_DOMAIN SENDER_DOMAIN", the domains "-" where it is about no mail
--   wait:LANE:MERCHANT  LIST  ids that wait, the oldest first
--   turns:LANE          LIST  merchants with waiting ids, whose turn is next first; each once
--   front:LANE          LIST  ids whose turn has come already: released, or the lease expired
--   line:LINE:…               the same three for jobs that are set aside; what is above is the main line
--   lines               ZSET  line -> its time, in milliseconds of this server's clock; infinite: until it is woken
--   line sizes          ZSET  line -> how many jobs wait in it; one that is not here is empty
--   line facts          HASH  line -> "AT_MOST REASON": how many jobs to fetch at its time, and what they wait for
--   leases              ZSET  id -> when its lease expires, in milliseconds of this server's clock
--   counts              HASH  "waiting LANE", "aside LANE", "leased LANE" -> how many (those set aside wait as well);
--                             "turn", "mail turn" -> whose turn is next; "clock" -> this server's time, to about a second
--   paused              SET   lanes that give nothing
--   signal:GROUP        LIST  at most a few elements, each wakes one worker that is blocked for lanes of this group
--   generation          STRING, lost when this server loses its data
--
-- A script sees at most 500 ids, so that none holds up the server; but where its clock was set back, once all that have a time.
local prefix = KEYS[1]
local jobs, leases, counts = prefix .. 'jobs', prefix .. 'leases', prefix .. 'counts'
local lines, sizes, facts = prefix .. 'lines', prefix .. 'line sizes', prefix .. 'line facts'

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Returns job, lane, merchant, token ('' while it waits, '@' while it is set aside), and 'again', the line, or ''.
local function parse(entry)
  return string.match(entry, '^((%S+) (%S+) %S+ %S+) ?(%S*) ?(.*)$')
end

-- The ids of ARGV: (id, something)*, and the entry of each; false for those that are not known.
local function ids_and_entries()
  local ids = {}
  for i = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
  return ids, #ids > 0 and redis.call('HMGET', jobs, unpack(ids)) or {}
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

local function base_of(line)
  return prefix .. 'line:' .. line .. ':'
end

local function add_to_the_end(base, ids, lane, merchant)
  if redis.call('RPUSH', base .. 'wait:' .. lane .. ':' .. merchant, unpack(ids)) == #ids then
    redis.call('RPUSH', base .. 'turns:' .. lane, merchant)
  end
  count('waiting', lane, #ids)
end

local function add_before_its_merchants(base, id, lane, merchant)
  if redis.call('LPUSH', base .. 'wait:' .. lane .. ':' .. merchant, id) == 1 then
    redis.call('RPUSH', base .. 'turns:' .. lane, merchant)
  end
  count('waiting', lane, 1)
end

local function add_to_the_front(base, id, lane)
  redis.call('LPUSH', base .. 'front:' .. lane, id)
  count('waiting', lane, 1)
end

local function wait_at_the_end(id, job, lane, merchant)
  redis.call('HSET', jobs, id, job)
  add_to_the_end(prefix, { id }, lane, merchant)
end

local function wait_at_the_front(id, job, lane)
  redis.call('HSET', jobs, id, job)
  add_to_the_front(prefix, id, lane)
end
