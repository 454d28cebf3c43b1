# Three machines as network namespaces: an agent, a board behind it, a laptop in the lab network. Runs in a mount
# and network namespace of its own, which takes all of it along when it ends.
#
# $1: the folder of the programs; $2: the configuration as installed; $3: a Python with the client
set -eu
bin=$1 config=$2 python=$3

mount -t tmpfs tmpfs /run
mkdir /run/proximity
for name in agent board laptop; do
    ip netns add "$name"
    ip -n "$name" link set lo up
done
# wire NAME ADDRESS, of which the agent has the same with 5 at its end
wire() {
    ip link add "$1" netns agent type veth peer name "$1" netns "$2"
    ip -n agent address add "${3%[0-9]/*}5/${3#*/}" dev "$1"
    ip -n "$2" address add "$3" dev "$1"
    ip -n agent link set "$1" up
    ip -n "$2" link set "$1" up
}
wire boards board 10.2.0.2/24
wire lab laptop 10.1.0.2/16
ip -n agent address add fd00:1::5/64 dev lab nodad
ip -n laptop address add fd00:1::2/64 dev lab nodad
wire guests laptop 192.168.99.2/24

# The three lines, without their #.
sed -e 's/^\( *\)# \(.*\)# \([12]\): /\1\2# \3: /' -e 's/^# \(plaintext = .*# 3: \)/\1/' "$config" >/run/agent.toml
cat >>/run/agent.toml <<'END'

[objects.srbs]
driver = "fpga"
host = "10.2.0.2"
END

mkfifo /run/board /run/said
ip netns exec board "$bin/mock-fpga" --listen 10.2.0.2:7147 >/run/board &
read -r line </run/board
echo "board: $line"
ip netns exec agent "$bin/proximity-agent" serve -c /run/agent.toml >/run/said &
exec 3</run/said
while read -r line <&3 && [ "$line" != ready ]; do echo "agent: $line"; done
[ "$line" = ready ]

read_register() {
    ip netns exec laptop "$python" - "$1" <<'END'
import sys
from proximity import Proxy

srbs = Proxy(sys.argv[1], "srbs", timeout=5)
srbs.write_int("sys_scratchpad", 0xCAFE)
print("laptop:", srbs.read_uint("sys_scratchpad"))
END
}
read_register tcp://10.1.0.5:5555
read_register "tcp://[fd00:1::5]:5555"

# The same laptop from a network that is not in 'plaintext'.
ip -n laptop route add 10.1.0.5/32 via 192.168.99.5 src 192.168.99.2
if read_register tcp://10.1.0.5:5555 2>/run/refused; then
    echo "served: 192.168.99.2"
fi
tail -n 2 /run/refused | sed 's/^/refused: /'
