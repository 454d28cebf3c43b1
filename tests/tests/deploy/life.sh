# The life of the package in a throw-away root. Runs in mount, network and process namespaces of its own.
#
# $1: the package; $2: the archive of an empty Debian root, or '-' for a copy of this machine's
set -eu
package=$1 root=/mnt/root

mount -t tmpfs tmpfs /mnt
mkdir /mnt/root /mnt/upper /mnt/work
if [ "$2" = - ]; then
    mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work $root
else
    tar -C $root -xf "$2"
fi
mount -t proc proc $root/proc
mount -t tmpfs tmpfs $root/run
mount -t tmpfs tmpfs $root/tmp
[ -e $root/dev/null ] || mount --rbind /dev $root/dev
ip link set lo up
# No function, so that $! is the program's own.
inside="chroot $root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C"

# The next version has another example.
dpkg-deb -R "$package" /mnt/next
sed -i 's/^Version: .*/&+next/' /mnt/next/DEBIAN/control
echo '# a newer example' >>/mnt/next/etc/proximity/agent.toml
dpkg-deb --root-owner-group -b /mnt/next $root/tmp/next.deb >/dev/null
cp "$package" $root/tmp/first.deb

$inside dpkg -i /tmp/first.deb
$inside proximity-agent check >/dev/null
[ ! -e $root/etc/systemd/system/multi-user.target.wants/proximity-agent.service ]
echo "installed"

cat >>$root/etc/proximity/agent.toml <<'END'

[objects.srbs]
driver = "fpga"
host = "127.0.0.1"
END
mkfifo /mnt/said
$inside mock-fpga --listen 127.0.0.1:7147 >/mnt/said &
read -r _ </mnt/said
serve() {
    command=$(sed -n 's/^ExecStart=//p' $root/usr/lib/systemd/system/proximity-agent.service)
    $inside setpriv --reuid=proximity --regid=proximity --init-groups $command >/mnt/said &
    agent=$!
    exec 3</mnt/said
    while read -r line <&3 && [ "$line" != ready ]; do :; done
    [ "$line" = ready ]
}
register() {
    $inside proximity "$@" call srbs.write_int sys_scratchpad 0xcafe >/dev/null
    echo "register: $($inside proximity "$@" call srbs.read_uint sys_scratchpad)"
}
serve
register
register -a ipc:///run/proximity/agent.sock
kill $agent
wait $agent

# An empty line is what an administrator answers who keeps the configuration.
echo | $inside dpkg -i /tmp/next.deb
grep -q objects.srbs $root/etc/proximity/agent.toml
serve
register
kill $agent
wait $agent
echo "upgraded"

$inside dpkg -r proximity
[ ! -e $root/usr/bin/proximity-agent ]
grep -q objects.srbs $root/etc/proximity/agent.toml
echo "removed"
$inside dpkg -P proximity
[ ! -e $root/etc/proximity/agent.toml ] && [ ! -e $root/var/lib/proximity ]
echo "purged"
