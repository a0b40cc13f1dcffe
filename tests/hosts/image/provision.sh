#!/bin/sh
# Turns a minimal Debian tree into a test host; runs inside the tree as root, under debootstrap's chroot and under a
# Containerfile alike, so that both ways give the same host. Usage: provision.sh bare|full|control PACKAGE...
# A control host gets the Python packages in $REQUIREMENTS besides, in /opt/wcp360.
set -eu
flavour=$1
shift
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# Nothing may start while packages are unpacked: there is no init in this tree yet.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
apt-get -q update
apt-get -q -y --no-install-recommends install "$@"

if [ "$flavour" = bare ]; then
    # sudo as on a server that was handed over: a login that may become root without a password.
    id admin >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --comment "test administrator" admin
    printf 'admin ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/admin
    chmod 0440 /etc/sudoers.d/admin

    # Each host gets host keys of its own at its first start, never the image's.
    rm -f /etc/ssh/ssh_host_*
    mkdir -p /etc/systemd/system/ssh.service.d
    printf '[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n' \
        >/etc/systemd/system/ssh.service.d/hostkeys.conf
    # An engine opens many sessions at once; ten unauthenticated ones are sshd's stock limit.
    printf 'MaxStartups 200\nUseDNS no\n' >/etc/ssh/sshd_config.d/testhost.conf

    # What has no meaning in a container and would only cost start-up time or mark the host as degraded.
    for unit in systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket \
        systemd-udevd-kernel.socket systemd-logind.service systemd-timesyncd.service getty.target \
        console-getty.service systemd-modules-load.service sys-kernel-debug.mount sys-kernel-config.mount \
        apt-daily.timer apt-daily-upgrade.timer; do
        ln -sf /dev/null "/etc/systemd/system/$unit"
    done
    ln -sf /lib/systemd/system/multi-user.target /etc/systemd/system/default.target
elif [ "$flavour" = full ]; then
    # Installed but not set up: what an administrator who keeps nginx for himself would have left.
    for unit in nginx.service /lib/systemd/system/php*-fpm.service; do
        systemctl disable "${unit##*/}" >/dev/null 2>&1 || :
    done
    rm -f /etc/nginx/sites-enabled/default
else
    python3 -m venv /opt/wcp360
    # shellcheck disable=SC2086 # a list of requirements
    /opt/wcp360/bin/pip install --quiet --no-cache-dir --disable-pip-version-check $REQUIREMENTS
fi

apt-get -q clean
# Package lists are left out: what works on a host without them works on one that has them.
rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/* /var/log/apt/* /var/log/dpkg.log /var/log/bootstrap.log
: >/etc/machine-id
