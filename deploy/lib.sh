# Shared by deploy/quickstart and tests/run: packages, a private Postgres cluster and RabbitMQ node, background processes.
# Sourced, never run. Callers set `root` (the checkout) and use `set -euo pipefail`.

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# need_packages COMMAND=PACKAGE ... — installs the packages whose command is missing. A word without '=' is a package
# that has no command of its own (fonts, headers) and is looked up in dpkg.
need_packages() {
  local missing=() word command package
  for word in "$@"; do
    command=${word%%=*} package=${word#*=}
    if [ "$word" = "$package" ]; then
      dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    else
      command -v "$command" >/dev/null 2>&1 || missing+=("$package")
    fi
  done
  case " $* " in *" postgresql "*) pg_bin >/dev/null 2>&1 && missing=("${missing[@]/#postgresql/}") ;; esac
  local wanted=() ; for package in "${missing[@]}"; do [ -n "$package" ] && wanted+=("$package"); done
  [ ${#wanted[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null 2>&1 || die "please install: ${wanted[*]} (this machine has no apt-get)"
  local sudo=() ; [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  say "installing ${wanted[*]}"
  # Debian's package would start a shared cluster of its own; ours is private, so that one is never made.
  case " ${wanted[*]} " in *" postgresql "*)
    "${sudo[@]}" mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.d/assay.conf >/dev/null ;;
  esac
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
}

need_rust() {
  command -v cargo >/dev/null 2>&1 || { [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH"; }
  command -v cargo >/dev/null 2>&1 || die "Rust is missing: install rustup (https://rustup.rs), then run this again; rust-toolchain.toml picks the version"
}

pg_bin() {
  local dir
  for dir in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -Vr); do
    [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ] && { echo "$dir"; return 0; }
  done
  dir=$(command -v initdb) && dirname "$(readlink -f "$dir")"
}

# Postgres refuses to run as root: its processes then run as the package's own user.
as_pg() { if [ "$(id -u)" -eq 0 ]; then setpriv --reuid postgres --regid postgres --init-groups "$@"; else "$@"; fi; }

# A loopback port nobody listens on: starts at a random one, so that two clusters started together do not race for it.
port_busy() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
free_port() {
  local port=$((20000 + RANDOM % 12000))
  while port_busy "$port"; do port=$((port + 1)); done
  echo "$port"
}

# pg_start DIR [SETTING ...] — starts (making it first where needed) a private cluster in DIR, reachable on loopback with a
# password only; sets `database_url` to its maintenance database. Safe to call again while it runs.
pg_start() {
  local dir=$1 ; shift
  local bin ; bin=$(pg_bin) || die "no Postgres binaries found"
  mkdir -p "$dir"
  if [ "$(id -u)" -eq 0 ]; then
    chown postgres "$dir"
    if ! as_pg test -x "$dir"; then
      # A checkout below a private home cannot be entered by the postgres user.
      dir=/var/lib/assay/$(printf '%s' "$dir" | sha256sum | cut -c1-12)
      mkdir -p "$dir" ; chown postgres "$dir"
      say "note: the database cluster is in $dir, since the postgres user cannot enter the checkout"
    fi
  fi
  chmod 700 "$dir"
  if [ ! -f "$dir/cluster/PG_VERSION" ]; then
    (umask 077 ; head -c 24 /dev/urandom | base64 | tr -d '/+=' > "$dir/password")
    [ "$(id -u)" -eq 0 ] && chown postgres "$dir/password"
    as_pg "$bin/initdb" -D "$dir/cluster" -U assay --pwfile "$dir/password" --auth scram-sha-256 --locale C.UTF-8 -E UTF8 >/dev/null
  fi
  if ! as_pg "$bin/pg_ctl" -D "$dir/cluster" status >/dev/null 2>&1; then
    local setting options="-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"
    for setting in "$@"; do options="$options -c $setting"; done
    # The port stays, so that whoever is connected finds the cluster again.
    if [ ! -s "$dir/port" ] || port_busy "$(cat "$dir/port")"; then free_port > "$dir/port"; fi
    as_pg "$bin/pg_ctl" -D "$dir/cluster" -o "-p $(cat "$dir/port") $options" -l "$dir/log" -w -t 60 start >/dev/null \
      || { tail -n 20 "$dir/log" >&2; die "Postgres did not start"; }
  fi
  pg_dir=$dir
  database_url="postgres://assay:$(cat "$dir/password")@127.0.0.1:$(cat "$dir/port")/postgres"
}

pg_stop() { as_pg "$(pg_bin)/pg_ctl" -D "$1/cluster" -m fast -w stop >/dev/null 2>&1 || true; }

# Background processes with a pid file; a pid counts only while it still belongs to the same program.
running() { # running PIDFILE NAME
  local pid line i ; pid=$(cat "$1" 2>/dev/null) || return 1
  for ((i = 0; i < 50; i++)); do
    kill -0 "$pid" 2>/dev/null || return 1
    line=$(command_line "$pid")
    # One just launched bears this shell's name until it has become the command, and while it changes it has none.
    if [ -n "$line" ] && [ "$line" != "$(command_line $$)" ]; then
      case $line in *"$2"*) return 0 ;; *) return 1 ;; esac
    fi
    sleep 0.02
  done
  return 1
}
command_line() { tr '\0' ' ' 2>/dev/null < "/proc/$1/cmdline" || true; }
launch() { # launch PIDFILE LOG COMMAND...
  local pidfile=$1 log=$2 ; shift 2
  setsid nohup "$@" >>"$log" 2>&1 </dev/null &
  echo $! > "$pidfile"
}
terminate() { # terminate PIDFILE NAME SECONDS — asks, waits, then kills
  running "$1" "$2" || { rm -f "$1"; return 0; }
  local pid i ; pid=$(cat "$1") ; kill "$pid" 2>/dev/null || true
  for ((i = 0; i < $3 * 10; i++)); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$1"
}

rabbit_bin() {
  local file
  for file in /usr/lib/rabbitmq/bin/rabbitmq-server "$(command -v rabbitmq-server || true)"; do
    [ -x "$file" ] && { echo "$file"; return 0; }
  done
  return 1
}

# rabbit_start DIR — starts (making it first where needed) a private RabbitMQ node in DIR, on loopback, with a name, ports, a
# cookie and a port mapper of its own, so that a broker of the system is not touched; sets `amqp_url`. Safe to call again
# while it runs, and after it was killed: the same port, the same data. Its process group is in DIR/pid.
rabbit_start() {
  local dir=$1 bin i
  bin=$(rabbit_bin) || die "no RabbitMQ found: install rabbitmq-server"
  mkdir -p "$dir/data" "$dir/log" && chmod 700 "$dir"
  if [ ! -f "$dir/ports" ]; then
    (umask 077 ; head -c 24 /dev/urandom | base64 | tr -d '/+=' > "$dir/password")
    echo '[].' > "$dir/plugins"
    local port dist epmd
    port=$(free_port) ; dist=$(free_port) ; epmd=$(free_port)
    echo "$port $dist $epmd assay$$-$RANDOM@localhost" > "$dir/ports"
  fi
  local port dist epmd node
  read -r port dist epmd node < "$dir/ports"
  amqp_url="amqp://assay:$(cat "$dir/password")@127.0.0.1:$port/%2f"
  running "$dir/pid" rabbit && port_busy "$port" && return 0
  cat > "$dir/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$port
default_user = assay
default_pass = $(cat "$dir/password")
disk_free_limit.absolute = 50MB
log.console = false
CONF
  local environment=(HOME="$dir" RABBITMQ_NODENAME="$node" RABBITMQ_DIST_PORT="$dist" ERL_EPMD_PORT="$epmd"
    ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir/log"
    RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_ADVANCED_CONFIG_FILE=/dev/null
    RABBITMQ_ENABLED_PLUGINS_FILE="$dir/plugins" RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +sbwt none")
  launch "$dir/pid" "$dir/log/start" env -u RABBITMQ_NODE_PORT "${environment[@]}" "$bin"
  for ((i = 0; ; i++)); do
    port_busy "$port" && return 0
    running "$dir/pid" rabbit && [ $i -lt 600 ] || { tail -n 20 "$dir"/log/* >&2 || true; die "RabbitMQ did not start"; }
    sleep 0.1
  done
}

# The node and its port mapper end at once: everything it has confirmed is on disk.
rabbit_stop() {
  local dir=$1 pid epmd ; [ -f "$dir/ports" ] || return 0
  if pid=$(cat "$dir/pid" 2>/dev/null); then kill -9 -- "-$pid" 2>/dev/null || true ; rm -f "$dir/pid" ; fi
  epmd=$(cut -d' ' -f3 "$dir/ports")
  ERL_EPMD_PORT=$epmd ERL_EPMD_ADDRESS=127.0.0.1 epmd -kill >/dev/null 2>&1 || true
}
