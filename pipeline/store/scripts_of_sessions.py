"""Scripts for sessions: their creation, state and end, and which runtime serves them.

They stand behind the prelude of :mod:`maskstream.pipeline.store.scripts`, which says what they
answer.
"""

from __future__ import annotations

SESSION_SCRIPTS = {
    # nonce, record, limits, counters, expire_ms, owner, secret, max_sessions, max_per_owner
    "create": """
if redis.call('EXISTS', SESSION) == 1 then
  if redis.call('HGET', SESSION, 'nonce') == ARGV[2] then return {'ok'} end
  return {'exists'}
end
need_room()
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
  'num_prompts', 0, 'journal_sequence', 0, 'journal_bytes', 0,
  'settled_sequence', 0, 'result_sequence', 0, 'read_sequence', 0,
  'result_epoch', 0, 'result_step', -1, 'stats', '{}')
if ARGV[8] ~= '' then redis.call('SET', SECRET, ARGV[8]) end
if cjson.decode(ARGV[3]).source == 'pushed://' then
  redis.call('HSET', PUSHED, 'sequence', 0, 'taken', 0, 'waiting', 0, 'dropped', 0, 'end', 0)
end
redis.call('HSET', OWNERS, id, ARGV[7])
redis.call('ZADD', SESSIONS, now + tonumber(ARGV[6]), id)
notify('starting')
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
even_when_full()
for i = 7, #ARGV do
  if ARGV[i] == state then
    redis.call('HSET', SESSION, 'state', ARGV[2], 'reason', ARGV[3], 'change', ARGV[4],
      'updated_ms', now)
    if ARGV[6] == '1' then
      redis.call('HDEL', OWNERS, id)
      no_more_work()
    end
    notify(ARGV[2])
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
    "reveal_source": """
if not alive() then return {'missing'} end
touch()
return {'ok', redis.call('GET', SECRET) or '', field('record')}
""",
    # holder, lease_ms; then nothing, or max_sessions and max_per_owner for when limits were lost.
    # Takes sessions whose claim has run out before new ones.
    "claim": """
even_when_full()
if ARGV[4] and redis.call('EXISTS', LIMITS) == 0 then
  redis.call('HSET', LIMITS, 'max_sessions', ARGV[4], 'max_sessions_per_owner', ARGV[5])
end
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
    # entry, lease_ms. The second half of a claim, once the first has told which session it is.
    "accept_work": """
if redis.call('HGET', SESSION, 'work_id') ~= ARGV[2] then return {'ok', 0} end
even_when_full()
redis.call('HSET', SESSION, 'lease_ms', ARGV[3])
return {'ok', 1}
""",
    # Answers holder or '', ms since the claim was made or renewed, lease_ms or ''
    "get_claim": """
if not alive() then return {'missing'} end
touch()
local item = field('work_id')
local held = redis.pcall('XPENDING', WORK, GROUP, item, item, 1)
if held.err or not held[1] then return {'ok', '', 0, ''} end
return {'ok', held[1][2], held[1][3], redis.call('HGET', SESSION, 'lease_ms') or ''}
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
    # holder. The claim is as old as its lease.
    "release": """
if not alive() then return {'missing'} end
local item = field('work_id')
local held = redis.pcall('XPENDING', WORK, GROUP, item, item, 1)
if held.err or not held[1] or held[1][2] ~= ARGV[2] then return {'ok', 0} end
redis.call('XCLAIM', WORK, GROUP, ARGV[2], 0, item, 'IDLE', number('lease_ms'), 'JUSTID')
touch()
return {'ok', 1}
""",
}
