"""Scripts for a session's journal, results and checkpoint.

They stand behind the prelude of :mod:`maskstream.pipeline.store.scripts`, which says what they
answer.
"""

from __future__ import annotations

LOG_SCRIPTS = {
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
notify('prompt')
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
notify('settled')
touch()
return {'ok', ARGV[4]}
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
notify('result')
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
if cursor > number('read_sequence') and cursor <= newest then
  even_when_full()
  redis.call('HSET', SESSION, 'read_sequence', ARGV[2])
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
}
