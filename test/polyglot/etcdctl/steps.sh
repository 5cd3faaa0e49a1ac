# What the steps of script.txt are made of. $ENDPOINTS: all nodes; $ENDPOINT: one; $NOBODY: where
# none is; $WORK: a directory of the part.

fail() { echo "$*" >&2; return 1; }

# eventually COMMAND…: waits until it is true.
eventually() {
  local i
  for ((i = 0; i < 600; i++)); do "$@" && return; sleep 0.05; done
  fail "in vain: $*"
}

lease() { etcdctl lease grant "$1" | cut -d' ' -f2; }
revision() { etcdctl get revision -w fields | sed -n 's/^"Revision" : //p'; }
modified() { etcdctl get "$@" -w fields | sed -n 's/^"ModRevision" : //p'; }
oldest() { etcdctl get "$1" --prefix --keys-only --sort-by=CREATE --order=ASCEND --limit=1 | head -1; }
hash() { command etcdctl --endpoints="$ENDPOINT" endpoint hashkv "$@" | cut -d, -f2; }

has_lines() { [ -f "$2" ] && [ "$(wc -l <"$2")" -ge "$1" ]; }
has_keys() { [ "$(etcdctl get "$2" --prefix --keys-only | grep -c .)" -eq "$1" ]; }
has_value() { [ "$(etcdctl get "$1" --print-value-only)" = "$2" ]; }
# keys N PREFIX: waits until there are N keys.
keys() { eventually has_keys "$1" "$2"; }
value() { eventually has_value "$1" "$2"; }

# lines N COMMAND…: runs it until it has said N lines, or has ended; says what it has said.
lines() { until_said out "$@"; }
# errors N COMMAND…: the same of what it says of errors.
errors() { until_said err "$@"; }
said_or_ended() { has_lines "$1" "$2" || ! kill -0 "$3" 2>/dev/null; }
until_said() {
  local where=$1 count=$2 said pid
  said=$(mktemp -d "$WORK/said.XXXX")
  shift 2
  : >"$said/out"
  : >"$said/err"
  "$@" >"$said/out" 2>"$said/err" <&0 &
  pid=$!
  eventually said_or_ended "$count" "$said/$where" "$pid"
  kill -TERM "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
  cat "$said/out"
  cat "$said/err" >&2
}

# later KEY COMMAND: does it when somebody watches, as far as that can be seen: in a moment.
later() { (sleep 0.3; eval "$2") >/dev/null 2>&1 & }

# held NAME: a lock is held until `release`.
held() {
  : >"$WORK/held"
  etcdctl lock "$1" >"$WORK/held" 2>&1 </dev/null &
  HOLDER=$!
  eventually has_lines 1 "$WORK/held"
}
release() { kill -TERM "$HOLDER" 2>/dev/null; wait "$HOLDER" 2>/dev/null; HOLDER=; }
WAITERS=
# waiter NAME WHO: waits for a lock and then says who it is.
waiter() { etcdctl lock "$1" echo "$2" >>"$WORK/served" 2>&1 </dev/null & WAITERS="$WAITERS $!"; }
await_waiters() { wait $WAITERS; WAITERS=; cat "$WORK/served"; rm -f "$WORK/served"; }

CANDIDATES=
candidate() { etcdctl elect "$1" "$2" >"$WORK/elected.$2" 2>&1 </dev/null & CANDIDATES="$CANDIDATES $!"; }
# leading NAME VALUE: a candidate that leads.
leading() { candidate "$1" "$2"; eventually has_lines 2 "$WORK/elected.$2"; }
# follows NAME VALUE: waits until that candidate leads.
follows() { eventually has_lines 2 "$WORK/elected.$2" || cat "$WORK/elected.$2";  lines 2 etcdctl elect "$1" -l; }
retire() { kill -TERM $CANDIDATES 2>/dev/null; wait $CANDIDATES 2>/dev/null; CANDIDATES=; }

# mirroring COMMAND…: runs it to this cluster itself, until `stop_mirror`.
mirroring() { "$@" "$ENDPOINT" >/dev/null 2>"$WORK/mirror" </dev/null & MIRROR=$!; }
stop_mirror() { kill -TERM "$MIRROR" 2>/dev/null; wait "$MIRROR" 2>/dev/null; cat "$WORK/mirror" >&2; }

# trailer FILE: whether what is behind the last whole block is the SHA-256 of all before.
trailer() {
  local size
  size=$(($(wc -c <"$1") - 32))
  [ "$(head -c "$size" "$1" | sha256sum | cut -d' ' -f1)" = "$(tail -c 32 "$1" | od -An -tx1 | tr -d ' \n')" ] && echo matches
}

# verdicts: of what `check perf` says, that it was judged, and what failed; how fast it was is the machine's.
verdicts() { tr '\r' '\n' | grep -oE 'Throughput|ERROR\(.*\)|too many errors' | sort -u; }

# names: of members in JSON, in the order of their names.
names() { tr -d ']}' | tr '{' '\n' | sed 's/,$//' | sort -t'"' -k6; }

# Who leads is asked of one node after the other, and may have changed in between.
one_leads() { [ "$(etcdctl endpoint status 2>/dev/null | cut -d, -f5 | grep -c true)" -eq 1 ]; }
status_of() { etcdctl endpoint status | awk -F', ' -v leads="$1" '$5 == leads' | head -1; }
follower() { status_of false | cut -d, -f1; }
follower_id() { status_of false | cut -d' ' -f2 | tr -d ,; }
leader_id() { status_of true | cut -d' ' -f2 | tr -d ,; }
