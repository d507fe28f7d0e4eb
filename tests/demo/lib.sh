# What the demo's scripts share: where things are, and how a step is told.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}/debug
name=${DEMO_NAME:-demo}
work=${XDG_STATE_HOME:-$HOME/.local/state}/kubectl-gitops/$name
bold=$'\e[1m' dim=$'\e[2m' off=$'\e[0m'
if [ ! -t 1 ] || [ -n "${NO_COLOR:-}" ]; then bold='' dim='' off=''; fi

tell() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# run COMMAND: shows it as one would type it, and must succeed.
run() {
  printf '%s$ %s%s\n' "$dim" "$*" "$off"
  eval "$@" || fail "this step should have worked: $*"
}

# refused COMMAND: shows it, and must be refused by the webhook. One that a busy machine
# keeps from answering in time lets nothing pass either: it is asked again.
refused() {
  printf '%s$ %s%s\n' "$dim" "$*" "$off"
  local answer again
  for again in 1 2 3; do
    if answer=$(eval "$@" 2>&1); then fail "this step should have been refused: $* ($answer)"; fi
    case "$answer" in *"failed calling webhook"*) sleep "$again" ;; *) break ;; esac
  done
  printf '%s\n' "$answer"
  case "$answer" in *"admission webhook"*denied*) ;; *) fail "refused, but not by the webhook: $*" ;; esac
}

# must WHAT COMMAND: a silent check of what was just told.
must() {
  local what=$1
  shift
  eval "$@" >/dev/null 2>&1 || fail "not so: $what"
}
