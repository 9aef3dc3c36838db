#!/bin/sh
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Turns a bare Debian container into the image of a lab host: systemd, ssh, Python, and Dovecot's packages downloaded
# but not installed, so that a host starts virgin and installing takes seconds and no network.
# Usage: provision.sh DEBIAN_RELEASE [backports]
set -eu
release=$1
export DEBIAN_FRONTEND=noninteractive

# Images from a registry forbid services to start and throw downloaded packages away.
rm -f /usr/sbin/policy-rc.d /etc/apt/apt.conf.d/docker-clean
# A host that a crash of this machine breaks is made anew.
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/lab

apt-get update
if [ "${2:-}" = backports ]; then
    # From the mirror that the image's own sources name, as apt tells once it has their lists.
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
    : "${mirror:?The sources of this image name no mirror for $release-backports. Add one to /etc/apt/sources.list in it.}"
    echo "deb $mirror $release-backports main" > /etc/apt/sources.list.d/backports.list
    printf 'Package: dovecot-*\nPin: release n=%s-backports\nPin-Priority: 600\n' "$release" \
        > /etc/apt/preferences.d/dovecot
    apt-get update
fi
apt-get install -y --no-install-recommends \
    systemd systemd-sysv dbus iproute2 ca-certificates openssh-server python3 python3-apt
apt-get clean
apt-get install -y --no-install-recommends --download-only dovecot-imapd dovecot-lmtpd dovecot-sqlite dovecot-ldap \
    slapd nftables ufw firewalld

# On a cgroup v1 machine systemd is not told that a service's cgroup is empty and waits for its stop timeout.
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\nDefaultTimeoutStopSec=2s\n' > /etc/systemd/system.conf.d/lab.conf

install -d -m 700 ~/.ssh
systemctl enable ssh
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer; do
    systemctl mask "$unit"
done
