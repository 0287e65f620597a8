"""What must happen at once in Redis, as Lua.

Every script gets the keys of ``Keys.types`` in that order, and the session's id as its first
argument. It answers with a list whose first item says how it went:

ok …              done; the rest is the script's own
missing           there is no such session
refused <state>   not in this state
superseded        the writer that asked is not the newest
limit <n> <name>  more than allowed

A field that is not what this project writes ends a script with ``CORRUPT <key> <field>`` before
anything is changed.
"""

from __future__ import annotations

from pipeline.store.keys import RUNTIMES_GROUP

_PRELUDE = (
    """
local SESSION, SECRET, JOURNAL, OUTCOMES, REQUESTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local OBJECTS, REMOVED, RESULTS, CHECKPOINT, EVENTS = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local FRAMES, PUSHED = KEYS[11], KEYS[12]
local NUM_OF_SESSION = 12
local SESSIONS, OWNERS, LIMITS, WORK = KEYS[13], KEYS[14], KEYS[15], KEYS[16]
local GROUP = '"""
    + RUNTIMES_GROUP
    + """'
local id = ARGV[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function field(name)
  local value = redis.call('HGET', SESSION, name)
  if not value then error('CORRUPT ' .. SESSION .. ' ' .. name .. '.') end
  return value
end
local function number(name)
  local value = tonumber(field(name))
  if not value then error('CORRUPT ' .. SESSION .. ' ' .. name .. '.') end
  return value
end
local life = nil
local function alive()
  if redis.call('EXISTS', SESSION) == 0 then return false end
  life = number('expire_ms')
  return true
end
local function limit(name)
  local read, limits = pcall(cjson.decode, field('limits'))
  if not read or type(limits) ~= 'table' or type(limits[name]) ~= 'number' then
    error('CORRUPT ' .. SESSION .. ' limits.')
  end
  return limits[name]
end
local function pushed(name)
  local value = tonumber(redis.call('HGET', PUSHED, name) or '')
  if not value then error('CORRUPT ' .. PUSHED .. ' ' .. name .. '.') end
  return value
end
local function superseded(writer)
  return writer ~= '' and number('writer') ~= tonumber(writer)
end
-- Redis ends a key once its time is past, not when it is reached; the list of sessions is cut the
-- same way, so that a session is in both or in neither.
local function touch()
  for i = 1, NUM_OF_SESSION do redis.call('PEXPIREAT', KEYS[i], now + life) end
  redis.call('ZADD', SESSIONS, 'XX', now + life, id)
end
local function forget_expired()
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', SESSIONS, '-inf', '(' .. now)) do
    redis.call('ZREM', SESSIONS, gone)
    redis.call('HDEL', OWNERS, gone)
  end
end
local function ring(what)
  redis.call('XADD', EVENTS, 'MAXLEN', 8, '*', 'e', what)
end
local function last_event()
  local newest = redis.call('XREVRANGE', EVENTS, '+', '-', 'COUNT', 1)[1]
  return newest and newest[1] or '0-0'
end
-- Ids are our sequences. What a stranger has put ahead of them would block the log for ever, and
-- the last id of a stream cannot be lowered: the log is written anew without it.
local function without_strangers(key, sequence)
  local old, from, last = key .. '~', '-', string.format('%.0f', sequence - 1)
  redis.call('RENAME', key, old)
  repeat
    local some = redis.call('XRANGE', old, from, last, 'COUNT', 256)
    for _, item in ipairs(some) do
      redis.call('XADD', key, item[1], unpack(item[2]))
      from = '(' .. item[1]
    end
  until #some == 0
  redis.call('DEL', old)
end
local function append(key, sequence, entry)
  local name = string.format('%.0f-0', sequence)
  local done = redis.pcall('XADD', key, name, 'entry', entry, 'ms', now)
  if type(done) == 'table' and done.err then
    if string.find(done.err, 'equal or smaller') then without_strangers(key, sequence) end
    redis.call('XADD', key, name, 'entry', entry, 'ms', now)
  end
end
-- A checkpoint's arguments, from one index on: epoch, step, journal_sequence, result_sequence,
-- meta, blob.
local function refuse_checkpoint(at, settled)
  local published = number('result_sequence')
  local journal, result, blob = ARGV[at + 2], ARGV[at + 3], ARGV[at + 5]
  if tonumber(journal) > settled then return {'ahead', 'journal_sequence', journal, settled} end
  if tonumber(result) > published then return {'ahead', 'result_sequence', result, published} end
  local most = limit('max_checkpoint_bytes')
  if #blob > most then return {'limit', most, 'max_checkpoint_bytes'} end
end
local function put_checkpoint(at)
  local epoch = tonumber(redis.call('HGET', CHECKPOINT, 'epoch') or -1)
  local step = tonumber(redis.call('HGET', CHECKPOINT, 'step') or -1)
  if epoch and step then
    local new_epoch, new_step = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    if new_epoch < epoch or (new_epoch == epoch and new_step < step) then return 0 end
  end
  redis.call('HSET', CHECKPOINT, 'epoch', ARGV[at], 'step', ARGV[at + 1], 'meta', ARGV[at + 4],
    'blob', ARGV[at + 5])
  return 1
end
local function no_more_work()
  local item = redis.call('HGET', SESSION, 'work_id')
  if item and item ~= '' then
    redis.pcall('XACK', WORK, GROUP, item)
    redis.pcall('XDEL', WORK, item)
  end
end
"""
)

_SCRIPTS = {
    # nonce, record, limits, counters, expire_ms, owner, secret, max_sessions, max_per_owner
    "create": """
if redis.call('EXISTS', SESSION) == 1 then
  if redis.call('HGET', SESSION, 'nonce') == ARGV[2] then return {'ok'} end
  return {'exists'}
end
forget_expired()
local most = tonumber(redis.call('HGET', LIMITS, 'max_sessions') or ARGV[9])
local most_per_owner = tonumber(redis.call('HGET', LIMITS, 'max_sessions_per_owner') or ARGV[10])
if redis.call('HLEN', OWNERS) >= most then return {'limit', most, 'max_sessions'} end
local owned = 0
for _, owner in ipairs(redis.call('HVALS', OWNERS)) do
  if owner == ARGV[7] then owned = owned + 1 end
end
if owned >= most_per_owner then return {'limit', most_per_owner, 'max_sessions_per_owner'} end
for i = 1, NUM_OF_SESSION do redis.call('DEL', KEYS[i]) end
local item = redis.call('XADD', WORK, '*', 'session', id)
redis.call('HSET', SESSION, 'nonce', ARGV[2], 'record', ARGV[3], 'limits', ARGV[4],
  'counters', ARGV[5], 'expire_ms', ARGV[6], 'state', 'starting', 'reason', '', 'change', '',
  'created_ms', now, 'updated_ms', now, 'epoch', 0, 'writer', 0, 'work_id', item,
  'max_obj_id', -1, 'num_prompts', 0, 'journal_sequence', 0, 'journal_bytes', 0,
  'settled_sequence', 0, 'result_sequence', 0, 'result_epoch', 0, 'result_step', -1, 'stats', '{}')
if ARGV[8] ~= '' then redis.call('SET', SECRET, ARGV[8]) end
if cjson.decode(ARGV[3]).source == 'pushed://' then
  redis.call('HSET', PUSHED, 'sequence', 0, 'taken', 0, 'waiting', 0, 'dropped', 0, 'end', 0)
end
redis.call('HSET', OWNERS, id, ARGV[7])
redis.call('ZADD', SESSIONS, now + tonumber(ARGV[6]), id)
ring('starting')
life = tonumber(ARGV[6])
touch()
return {'ok'}
""",
    # 1 when this counts as use
    "get": """
if not alive() then return {'missing'} end
local event = last_event()
if ARGV[2] == '1' then touch() end
return {'ok', redis.call('HGETALL', SESSION), redis.call('PTTL', SESSION), now, event}
""",
    "list": """
forget_expired()
return {'ok', redis.call('ZRANGE', SESSIONS, 0, -1)}
""",
    "delete": """
local found = redis.call('EXISTS', SESSION)
if redis.call('TYPE', SESSION).ok == 'hash' then no_more_work() end
for i = 1, NUM_OF_SESSION do redis.call('DEL', KEYS[i]) end
redis.call('ZREM', SESSIONS, id)
redis.call('HDEL', OWNERS, id)
return {'ok', found}
""",
    # to, reason, change, writer, whether it is the end, expected states…
    "transition": """
if not alive() then return {'missing'} end
if superseded(ARGV[5]) then return {'superseded'} end
if field('change') == ARGV[4] then return {'ok'} end
local state = field('state')
for i = 7, #ARGV do
  if ARGV[i] == state then
    redis.call('HSET', SESSION, 'state', ARGV[2], 'reason', ARGV[3], 'change', ARGV[4],
      'updated_ms', now)
    if ARGV[6] == '1' then
      redis.call('HDEL', OWNERS, id)
      no_more_work()
    end
    ring(ARGV[2])
    touch()
    return {'ok'}
  end
end
return {'refused', state}
""",
    # writer, counters or '', epoch or '', stats or ''
    "report": """
if not alive() then return {'missing'} end
if superseded(ARGV[2]) then return {'superseded'} end
local epoch = number('epoch')
if ARGV[3] ~= '' then redis.call('HSET', SESSION, 'counters', ARGV[3]) end
if ARGV[4] ~= '' and tonumber(ARGV[4]) > epoch then
  redis.call('HSET', SESSION, 'epoch', ARGV[4])
end
if ARGV[5] ~= '' then redis.call('HSET', SESSION, 'stats', ARGV[5]) end
touch()
return {'ok'}
""",
    "take_over": """
if not alive() then return {'missing'} end
local writer = number('writer') + 1
redis.call('HSET', SESSION, 'writer', writer)
touch()
return {'ok', writer}
""",
    # request_id, kind, whether it is a prompt, entry, states that take entries…
    "append_entry": """
if not alive() then return {'missing'} end
local seen = redis.call('HGET', REQUESTS, ARGV[2])
if seen then return {'ok', seen} end
local state = field('state')
local open = false
for i = 6, #ARGV do open = open or ARGV[i] == state end
if not open then return {'refused', state} end
if #ARGV[5] > limit('max_prompt_bytes') then
  return {'limit', limit('max_prompt_bytes'), 'max_prompt_bytes'}
end
local sequence = number('journal_sequence') + 1
local bytes = number('journal_bytes') + #ARGV[5]
local prompts = number('num_prompts')
if ARGV[4] == '1' then
  prompts = prompts + 1
  local most = limit('max_prompts')
  if prompts > most then return {'limit', most, 'max_prompts'} end
end
local most_entries, most_bytes = limit('max_journal_entries'), limit('max_journal_bytes')
if sequence > most_entries then return {'limit', most_entries, 'max_journal_entries'} end
if bytes > most_bytes then return {'limit', most_bytes, 'max_journal_bytes'} end
if ARGV[3] == 'reset' then prompts = 0 end
append(JOURNAL, sequence, ARGV[5])
redis.call('HSET', REQUESTS, ARGV[2], sequence)
redis.call('HSET', SESSION, 'journal_sequence', sequence, 'journal_bytes', bytes,
  'num_prompts', prompts, 'updated_ms', now)
ring('prompt')
touch()
return {'ok', sequence}
""",
    # after, count
    "read_journal": """
if not alive() then return {'missing'} end
local newest = number('journal_sequence')
local first, last = string.format('%.0f', tonumber(ARGV[2]) + 1), string.format('%.0f', newest)
local entries = redis.call('XRANGE', JOURNAL, first, last, 'COUNT', ARGV[3])
local outcomes = {}
for i, item in ipairs(entries) do
  outcomes[i] = redis.call('HGET', OUTCOMES, string.match(item[1], '^%d+')) or ''
end
touch()
return {'ok', entries, outcomes, newest, last_event()}
""",
    # writer, sequence, outcome; then the arguments of a checkpoint, or nothing
    "settle_entry": """
if not alive() then return {'missing'} end
if superseded(ARGV[2]) then return {'superseded'} end
local sequence, settled = tonumber(ARGV[3]), number('settled_sequence')
local stored = redis.call('HGET', OUTCOMES, ARGV[3])
if stored then return {'ok', stored} end
if sequence > number('journal_sequence') or sequence <= settled then return {'unknown'} end
local before = redis.call('XRANGE', JOURNAL, string.format('%.0f', settled + 1),
  string.format('%.0f', sequence - 1), 'COUNT', 1)[1]
if before then return {'order', before[1]} end
if ARGV[5] then
  local refusal = refuse_checkpoint(5, sequence)
  if refusal then return refusal end
  put_checkpoint(5)
end
redis.call('HSET', OUTCOMES, ARGV[3], ARGV[4])
redis.call('HSET', SESSION, 'settled_sequence', sequence, 'updated_ms', now)
ring('settled')
touch()
return {'ok', ARGV[4]}
""",
    # writer, then obj_id, state, last frame, object for each
    "put_objects": """
if not alive() then return {'missing'} end
if superseded(ARGV[2]) then return {'superseded'} end
local most, most_removed = limit('max_objects'), limit('max_removed_objects')
local largest = number('max_obj_id')
local live = redis.call('HLEN', OBJECTS) - redis.call('ZCARD', REMOVED)
for i = 3, #ARGV, 4 do
  local known = redis.call('HEXISTS', OBJECTS, ARGV[i]) == 1
  local was_live = known and not redis.call('ZSCORE', REMOVED, ARGV[i])
  local is_live = ARGV[i + 1] ~= 'removed'
  if is_live and not was_live then live = live + 1 end
  if was_live and not is_live then live = live - 1 end
end
if live > most then return {'limit', most, 'max_objects'} end
for i = 3, #ARGV, 4 do
  redis.call('HSET', OBJECTS, ARGV[i], ARGV[i + 3])
  if ARGV[i + 1] == 'removed' then redis.call('ZADD', REMOVED, ARGV[i + 2], ARGV[i])
  else redis.call('ZREM', REMOVED, ARGV[i]) end
  largest = math.max(largest, tonumber(ARGV[i]))
end
local surplus = redis.call('ZCARD', REMOVED) - most_removed
if surplus > 0 then
  local oldest = redis.call('ZPOPMIN', REMOVED, surplus)
  for i = 1, #oldest, 2 do redis.call('HDEL', OBJECTS, oldest[i]) end
end
redis.call('HSET', SESSION, 'max_obj_id', string.format('%.0f', largest))
touch()
return {'ok'}
""",
    "list_objects": """
if not alive() then return {'missing'} end
touch()
return {'ok', redis.call('HGETALL', OBJECTS)}
""",
    # writer, epoch, step, entry, counters or '', states that are over…
    "publish_result": """
if not alive() then return {'missing'} end
if superseded(ARGV[2]) then return {'superseded'} end
local epoch, step = tonumber(ARGV[3]), tonumber(ARGV[4])
local last_epoch, last_step = number('result_epoch'), number('result_step')
if epoch < last_epoch or (epoch == last_epoch and step <= last_step) then
  return {'duplicate'}
end
local state = field('state')
for i = 7, #ARGV do
  if ARGV[i] == state then return {'refused', state} end
end
if #ARGV[5] > limit('max_result_bytes') then
  return {'limit', limit('max_result_bytes'), 'max_result_bytes'}
end
local sequence = number('result_sequence') + 1
local most, oldest = limit('max_results'), now - limit('max_result_age_s') * 1000
append(RESULTS, sequence, ARGV[5])
redis.call('HSET', SESSION, 'result_sequence', sequence, 'result_epoch', ARGV[3],
  'result_step', ARGV[4])
redis.call('XTRIM', RESULTS, 'MAXLEN', '=', string.format('%.0f', most))
for _, item in ipairs(redis.call('XRANGE', RESULTS, '-', '+', 'COUNT', 16)) do
  local ms = nil
  for i = 1, #item[2] - 1, 2 do
    if item[2][i] == 'ms' then ms = tonumber(item[2][i + 1]) end
  end
  if ms and ms >= oldest then break end
  redis.call('XDEL', RESULTS, item[1])
end
if ARGV[6] ~= '' then redis.call('HSET', SESSION, 'counters', ARGV[6]) end
ring('result')
touch()
return {'ok', sequence}
""",
    # cursor, count
    "read_results": """
if not alive() then return {'missing'} end
local state, newest = field('state'), number('result_sequence')
local cursor = tonumber(ARGV[2])
local entries = {}
if cursor < newest then
  entries = redis.call('XRANGE', RESULTS, string.format('%.0f', cursor + 1),
    string.format('%.0f', newest), 'COUNT', ARGV[3])
end
touch()
return {'ok', entries, state, newest, last_event()}
""",
    # writer, epoch, step, journal_sequence, result_sequence, meta, blob
    "save_checkpoint": """
if not alive() then return {'missing'} end
if superseded(ARGV[2]) then return {'superseded'} end
local refusal = refuse_checkpoint(3, number('settled_sequence'))
if refusal then return refusal end
local new = put_checkpoint(3)
touch()
return {'ok', new}
""",
    "load_checkpoint": """
if not alive() then return {'missing'} end
touch()
return {'ok', redis.call('HGETALL', CHECKPOINT)}
""",
    "reveal_source": """
if not alive() then return {'missing'} end
touch()
return {'ok', redis.call('GET', SECRET) or '', field('record')}
""",
    # whether it is the end, pts or '', blob, states that take frames…
    "push_frame": """
if not alive() then return {'missing'} end
if redis.call('EXISTS', PUSHED) == 0 then return {'not_pushed'} end
local state = field('state')
local open = false
for i = 5, #ARGV do open = open or ARGV[i] == state end
if not open then return {'refused', state} end
if #ARGV[4] > limit('max_frame_bytes') then
  return {'limit', limit('max_frame_bytes'), 'max_frame_bytes'}
end
local sequence, taken = pushed('sequence'), pushed('taken')
local waiting, dropped = pushed('waiting'), pushed('dropped')
if ARGV[2] == '1' then
  redis.call('HSET', PUSHED, 'end', 1)
elseif pushed('end') == 1 then
  return {'finished'}
else
  local most = limit('max_waiting_frames')
  local name = string.format('%.0f-0', sequence + 1)
  local done = redis.pcall('XADD', FRAMES, name, 'blob', ARGV[4], 'pts', ARGV[3], 'ms', now)
  if type(done) == 'table' and done.err then
    -- A stranger has put something ahead; what waits is not worth keeping for that.
    redis.call('DEL', FRAMES)
    redis.call('XADD', FRAMES, name, 'blob', ARGV[4], 'pts', ARGV[3], 'ms', now)
    waiting, dropped = 0, dropped + waiting
  end
  sequence, waiting = sequence + 1, waiting + 1
  if waiting > most then
    local first = string.format('%.0f', taken + 1)
    local oldest = redis.call('XRANGE', FRAMES, first, '+', 'COUNT', 1)[1]
    if oldest then redis.call('XDEL', FRAMES, oldest[1]) end
    waiting, dropped = waiting - 1, dropped + 1
  end
  redis.call('HSET', PUSHED, 'sequence', string.format('%.0f', sequence), 'waiting', waiting,
    'dropped', string.format('%.0f', dropped))
end
ring('frame')
touch()
return {'ok', sequence, waiting, dropped}
""",
    # after, done, count
    "take_frames": """
if not alive() then return {'missing'} end
if redis.call('EXISTS', PUSHED) == 0 then return {'not_pushed'} end
local newest, taken, waiting = pushed('sequence'), pushed('taken'), pushed('waiting')
local after, done = tonumber(ARGV[2]), tonumber(ARGV[3])
if after > newest then return {'ahead', newest} end
redis.call('XTRIM', FRAMES, 'MINID', '=', string.format('%.0f', done + 1))
local first = string.format('%.0f', after + 1)
local items = redis.call('XRANGE', FRAMES, first, '+', 'COUNT', ARGV[4])
local last, fresh = taken, 0
for _, item in ipairs(items) do
  local sequence = tonumber(string.match(item[1], '^%d+'))
  if sequence > taken then fresh = fresh + 1 end
  last = math.max(last, sequence)
end
waiting = math.max(0, waiting - fresh)
redis.call('HSET', PUSHED, 'taken', string.format('%.0f', last), 'waiting', waiting)
local is_end = 0
if pushed('end') == 1 and #items < tonumber(ARGV[4]) then is_end = 1 end
touch()
return {'ok', items, pushed('dropped'), is_end, last_event()}
""",
    # holder, lease_ms. Takes abandoned work before new work.
    "claim": """
redis.pcall('XGROUP', 'CREATE', WORK, GROUP, '0', 'MKSTREAM')
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', WORK, GROUP)) do
  local about = {}
  for i = 1, #info, 2 do about[info[i]] = info[i + 1] end
  if about.pending == 0 and about.idle > 3600000 and about.name ~= ARGV[2] then
    redis.call('XGROUP', 'DELCONSUMER', WORK, GROUP, about.name)
  end
end
local found, from = nil, '0-0'
repeat
  local lapsed = redis.call('XAUTOCLAIM', WORK, GROUP, ARGV[2], ARGV[3], from, 'COUNT', 1)
  from, found = lapsed[1], lapsed[2][1]
until found or from == '0-0'
if not found then
  local fresh = redis.call('XREADGROUP', 'GROUP', GROUP, ARGV[2], 'COUNT', 1, 'STREAMS', WORK, '>')
  if fresh then found = fresh[1][2][1] end
end
if not found then
  local newest = redis.call('XREVRANGE', WORK, '+', '-', 'COUNT', 1)[1]
  return {'none', newest and newest[1] or '0-0'}
end
return {'ok', found[1], found[2] or {}}
""",
    # entry
    "drop_work": """
redis.pcall('XACK', WORK, GROUP, ARGV[2])
redis.call('XDEL', WORK, ARGV[2])
return {'ok'}
""",
    # holder
    "renew": """
if not alive() then return {'missing'} end
local item = field('work_id')
local held = redis.pcall('XPENDING', WORK, GROUP, item, item, 1)
if held.err or not held[1] or held[1][2] ~= ARGV[2] then return {'ok', 0} end
redis.call('XCLAIM', WORK, GROUP, ARGV[2], 0, item, 'JUSTID')
touch()
return {'ok', 1}
""",
}

SCRIPTS = {name: _PRELUDE + body for name, body in _SCRIPTS.items()}
