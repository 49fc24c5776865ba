"""What Redis does in one step, in Lua. KEYS[1] is what all keys of a place begin with, ARGV[1] the epoch that the caller knows,
and how many writes of it they have seen.

A job is a hash; sets of ids in the order in which jobs were made say which are there, of which gallery, and in which state; one
hash says which job of a gallery is open. Where the epoch is another one Redis was emptied, and where there are fewer writes than
were seen it came back as it was before: nothing is done then.
"""

_BEGIN = """
local base = KEYS[1]
local epoch = redis.call('GET', base .. ':epoch')
local known, seen = string.match(ARGV[1], '^(.*)/(%d+)$')
local writes = tonumber(redis.call('GET', base .. ':writes') or '0')
if epoch ~= known or writes < tonumber(seen) then return {'epoch'} end
local function written() return {'ok', redis.call('INCR', base .. ':writes')} end
local function of_job(id) return base .. ':job:' .. id end
local function of_state(state) return base .. ':state:' .. state end
local function remember(key, digest, status, body, seconds)
  if key == '' then return end
  local place = base .. ':answered:' .. key
  redis.call('HSET', place, 'digest', digest, 'status', status, 'body', body)
  redis.call('EXPIRE', place, seconds)
end
"""

EPOCH = """
redis.call('SET', KEYS[1] .. ':epoch', ARGV[1], 'NX')
local writes = math.max(tonumber(redis.call('GET', KEYS[1] .. ':writes') or '0'), tonumber(ARGV[2]))
redis.call('SET', KEYS[1] .. ':writes', writes)
return {redis.call('GET', KEYS[1] .. ':epoch'), writes}
"""
"""A new epoch, or the one that there is; and how many writes there were in it."""

PUT = (
    _BEGIN
    + """
-- id, version, state, is open, gallery, when it was made, then fields and values
local id, version, state, is_open, gallery = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local known = redis.call('HGET', of_job(id), 'version')
if known and tonumber(known) >= version then return {'ok'} end
local other = redis.call('HGET', base .. ':open', gallery)
if is_open == '1' and other and other ~= id then
  -- Of two that seem open the older has ended; whoever ended it says how, if they are still here.
  if redis.call('HGET', of_job(other), 'created_at') > ARGV[7] then state, is_open = 'cancelled', '0'
  else
    local seq = redis.call('HGET', of_job(other), 'seq')
    redis.call('ZREM', of_state(redis.call('HGET', of_job(other), 'state')), other)
    redis.call('ZADD', of_state('cancelled'), seq, other)
    redis.call('HSET', of_job(other), 'state', 'cancelled')
  end
end
local seq = redis.call('HGET', of_job(id), 'seq')
if known then redis.call('ZREM', of_state(redis.call('HGET', of_job(id), 'state')), id)
else seq = redis.call('INCR', base .. ':seq') end
local fields = {'seq', seq, 'owner', '', 'lease_until', '0'}
for place = 8, #ARGV do fields[#fields + 1] = ARGV[place] end
redis.call('HSET', of_job(id), unpack(fields))
redis.call('HSET', of_job(id), 'state', state)
redis.call('ZADD', base .. ':jobs', seq, id)
redis.call('ZADD', base .. ':of:' .. gallery, seq, id)
redis.call('ZADD', of_state(state), seq, id)
if is_open == '1' then redis.call('HSET', base .. ':open', gallery, id)
elseif redis.call('HGET', base .. ':open', gallery) == id then redis.call('HDEL', base .. ':open', gallery) end
return {'ok'}
"""
)
"""A job as a journal has it, where Redis has none or an older one."""

CREATE = (
    _BEGIN
    + """
-- id, gallery, the answer (key, digest, status, body, seconds), then fields and values
local id, gallery = ARGV[2], ARGV[3]
if redis.call('HEXISTS', base .. ':open', gallery) == 1 then return {'open'} end
local seq = redis.call('INCR', base .. ':seq')
local fields = {'seq', seq, 'owner', '', 'lease_until', '0', 'gallery', gallery}
for place = 9, #ARGV do fields[#fields + 1] = ARGV[place] end
redis.call('HSET', of_job(id), unpack(fields))
redis.call('ZADD', base .. ':jobs', seq, id)
redis.call('ZADD', base .. ':of:' .. gallery, seq, id)
redis.call('ZADD', of_state('queued'), seq, id)
redis.call('HSET', base .. ':open', gallery, id)
remember(ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])
return written()
"""
)

CHANGE = (
    _BEGIN
    + """
-- id, version, state, whether it was open and is, the answer, then fields and values
local id, state, was_open, is_open = ARGV[2], ARGV[4], ARGV[5], ARGV[6]
local version = redis.call('HGET', of_job(id), 'version')
if not version then return {'none'} end
if version ~= ARGV[3] then return {'changed', redis.call('HGET', of_job(id), 'state')} end
local gallery, seq = unpack(redis.call('HMGET', of_job(id), 'gallery', 'seq'))
if is_open == '1' and was_open == '0' then
  if redis.call('HEXISTS', base .. ':open', gallery) == 1 then return {'open'} end
  redis.call('HSET', base .. ':open', gallery, id)
elseif is_open == '0' and was_open == '1' then redis.call('HDEL', base .. ':open', gallery) end
redis.call('ZREM', of_state(redis.call('HGET', of_job(id), 'state')), id)
redis.call('ZADD', of_state(state), seq, id)
local fields = {'state', state, 'version', tostring(tonumber(version) + 1)}
for place = 12, #ARGV do fields[#fields + 1] = ARGV[place] end
redis.call('HSET', of_job(id), unpack(fields))
remember(ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11])
return written()
"""
)

LEASE = (
    _BEGIN
    + """
-- owner, now, until when, then states
local best, first = nil, nil
for place = 5, #ARGV do
  for _, id in ipairs(redis.call('ZRANGE', of_state(ARGV[place]), 0, -1)) do
    local seq, lease = unpack(redis.call('HMGET', of_job(id), 'seq', 'lease_until'))
    if tonumber(lease) < tonumber(ARGV[3]) and (not first or tonumber(seq) < first) then
      best, first = id, tonumber(seq)
    end
  end
end
if not best then return {'none'} end
redis.call('HSET', of_job(best), 'owner', ARGV[2], 'lease_until', ARGV[4])
return {'ok', best}
"""
)

HOLD = (
    _BEGIN
    + """
-- id, owner, the owner from now on, until when
if redis.call('HGET', of_job(ARGV[2]), 'owner') ~= ARGV[3] or ARGV[3] == '' then return {'none'} end
redis.call('HSET', of_job(ARGV[2]), 'owner', ARGV[4], 'lease_until', ARGV[5])
return {'ok'}
"""
)
"""Renew or release what is one's own."""

READ = (
    _BEGIN
    + """
-- ids
local found = {'ok'}
for place = 2, #ARGV do found[#found + 1] = redis.call('HGETALL', of_job(ARGV[place])) end
return found
"""
)

LIST = (
    _BEGIN
    + """
-- the set below base, from which number down (exclusive, or +inf), how many
local found = redis.call('ZREVRANGEBYSCORE', base .. ARGV[2], ARGV[3], '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
table.insert(found, 1, 'ok')
return found
"""
)

ANSWERED = (
    _BEGIN
    + """
local found = redis.call('HMGET', base .. ':answered:' .. ARGV[2], 'digest', 'status', 'body')
return {'ok', found[1] or '', found[2] or '', found[3] or ''}
"""
)

TAKE = """
local now = redis.call('TIME')
local at = tonumber(now[1]) + tonumber(now[2]) / 1000000
local interval, burst = 1 / tonumber(ARGV[1]), tonumber(ARGV[2])
local due = math.max(at, tonumber(redis.call('GET', KEYS[1]) or at)) + interval
local early = due - at - math.max(burst, interval)
if early > 0 then return tostring(early) end
redis.call('SET', KEYS[1], string.format('%.6f', due), 'EX', math.ceil(due - at) + 1)
return '0'
"""
"""A request of a key. Source: the generic cell rate algorithm (ITU-T I.371)."""

SPEND = """
local now = redis.call('TIME')
local at, day_seconds = tonumber(now[1]), tonumber(ARGV[3])
local key = KEYS[1] .. ':' .. math.floor(at / day_seconds)
local spent = tonumber(redis.call('GET', key) or '0')
if spent + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return day_seconds - at % day_seconds end
redis.call('INCRBY', key, ARGV[1])
redis.call('EXPIRE', key, day_seconds + 3600)
return 0
"""
"""Probes of a key, over a day (UTC)."""
