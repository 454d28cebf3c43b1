#!/bin/sh
# Fetches what it takes to build static programs for 32- and 64-bit ARM on an amd64 Debian, and to run them here:
# Debian's own Rust with its libraries for both, cross compilers, libsodium, qemu. Nothing is installed: packages are
# unpacked in $1, about 2 GB. Needs apt-get, dpkg, python3 and a Debian mirror; `cargo xtask dist --check` runs it.
set -eu
to=$1
[ ! -e "$to/complete" ] || exit 0
rm -rf "$to"
mkdir -p "$to/apt/lists/partial" "$to/apt/archives/partial" "$to/root"
to=$(cd "$to" && pwd)

# An apt of its own, to which nothing is installed yet. Of armhf it takes no index: those of the security mirror
# often do not fit each other, and a package that is there for arm64 is there for armhf.
: >"$to/apt/status"
cat >"$to/apt/conf" <<END
Dir::State "$to/apt";
Dir::State::status "$to/apt/status";
Dir::Cache "$to/apt";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
END
export APT_CONFIG="$to/apt/conf"
apt-get update -q
apt-get install -q -y --download-only rustc-web libstd-rust-web-dev:arm64 libsodium-dev:arm64 \
    g++-aarch64-linux-gnu g++-arm-linux-gnueabihf qemu-user-static

fetch='import sys, urllib.request
urllib.request.urlretrieve(sys.argv[1], sys.argv[2])'
cd "$to/apt/archives"
for name in libstd-rust-web-dev libsodium-dev; do
    # Asked elsewhere: it tells nothing of what lies here already.
    url=$(cd "$to" && apt-get --print-uris download "$name:arm64" | cut -d "'" -f 2)
    # By its name, not by an index: nothing but the mirror vouches for it, so nothing made of it is handed out.
    python3 -c "$fetch" "$(echo "$url" | sed 's/arm64\.deb$/armhf.deb/')" "${name}_1_armhf.deb"
done
for package in *_amd64.deb *_all.deb libstd-rust-web-dev_*_arm*.deb libsodium-dev_*_arm*.deb; do
    dpkg -x "$package" "$to/root"
done
rm -rf "$to/apt"

# Debian's Rust, with its own libraries.
cat >"$to/rustc" <<END
#!/bin/sh
LD_LIBRARY_PATH="$to/root/usr/lib/x86_64-linux-gnu" exec "$to/root/usr/bin/rustc" "\$@"
END
chmod 755 "$to/rustc"
"$to/rustc" --version
: >"$to/complete"
