# A board, an agent and a laptop as network namespaces, whose links go silent: nothing is closed, nothing comes
# any more. Runs in a mount and network namespace of its own, which takes all of it along when it ends.
#
# $1 to $3: the agent, the command, the board. Prints a line 'NAME STATUS MILLISECONDS' for each call.
set -eu
agent=$1 command=$2 board=$3

mount -t tmpfs tmpfs /run
for name in agent board laptop; do
    ip netns add "$name"
    ip -n "$name" link set lo up
done
# wire NAMESPACE NETWORK: it is 2 there, the agent is 1
wire() {
    ip link add "$1" netns agent type veth peer name "$1" netns "$1"
    ip -n agent address add "$2.1/24" dev "$1"
    ip -n "$1" address add "$2.2/24" dev "$1"
    ip -n agent link set "$1" up
    ip -n "$1" link set "$1" up
}
wire board 10.2.0
wire laptop 10.1.0

cat >/run/agent.toml <<'END'
listen = ["tcp://10.1.0.1:5555"]
plaintext = ["10.1.0.0/24"]
log = "error"
[objects.srbs]
driver = "fpga"
host = "10.2.0.2"
[objects.counter]
driver = "counter"
END

mkfifo /run/board /run/said
ip netns exec board "$board" --listen 10.2.0.2:7147 >/run/board &
read -r line </run/board
ip netns exec agent "$agent" serve -c /run/agent.toml >/run/said &
exec 3</run/said
while read -r line <&3 && [ "$line" != ready ]; do :; done
[ "$line" = ready ]

# call NAME SECONDS WORD...
call() {
    name=$1 seconds=$2
    shift 2
    from=$(date +%s%3N)
    while :; do
        status=0
        ip netns exec laptop "$command" -a tcp://10.1.0.1:5555 --timeout "$seconds" "$@" >/dev/null 2>&1 || status=$?
        # What is back may take a while to be reached: the link, and the pause between two attempts.
        [ "$status" != 0 ] && [ "${name%-back}" != "$name" ] && [ $(($(date +%s%3N) - from)) -lt 30000 ] || break
    done
    echo "$name $status $(($(date +%s%3N) - from))"
}
read_board() { call "$1" "$2" call srbs.read_uint sys_scratchpad; }
silent() { ip -n "$1" link set "$1" down; }
back() { ip -n "$1" link set "$1" up; }

read_board before 30
silent board
read_board board-silent 20
call beside 20 call counter.add
back board
read_board board-back 30
silent laptop
call laptop-silent 3 call counter.add
back laptop
call laptop-back 30 call counter.add
