"""What stands in a run's way on a server: made between operations, found by the dry run or by nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.property.drawing import World
from wcp360.core.hostnames import normalise_domain


@dataclass(frozen=True)
class Obstacle:
    """``make`` and ``clear`` are shell lines for the server."""

    name: str
    make: str
    clear: str = "true"


Maker = Callable[[str, str], Obstacle]


def _bad_include(tenant: str, domain: str) -> Obstacle:
    directory = f"/etc/nginx/wcp360.d/{domain}"
    return Obstacle(
        "an admin's include that Nginx refuses",
        f"mkdir -p {directory} && echo 'no_such_directive on;' > {directory}/x.conf",
        "rm -rf /etc/nginx/wcp360.d",
    )


def _good_include(tenant: str, domain: str) -> Obstacle:
    directory = f"/etc/nginx/wcp360.d/{domain}"
    make = f"mkdir -p {directory} && echo 'add_header X-Admin yes;' > {directory}/x.conf"
    return Obstacle("an admin's include", make, "rm -rf /etc/nginx/wcp360.d")


def _foreign_file(tenant: str, domain: str) -> Obstacle:
    path = f"/etc/nginx/wcp360/current/sites/{domain}.conf"
    # Where the file is ours already this is a hand edit, which is put right by whoever writes the site next.
    return Obstacle(
        "a file of somebody else's where a site's is to be",
        f"test ! -d /etc/nginx/wcp360/current || {{ mkdir -p -m 0711 $(dirname {path}); echo '# mine' >> {path}; }}",
        f"if grep -qsx '# mine' {path} && test $(wc -l < {path}) -eq 1; then rm {path}; fi",
    )


def _foreign_site(tenant: str, domain: str) -> Obstacle:
    path = "/etc/nginx/conf.d/mine.conf"
    make = f"mkdir -p /etc/nginx/conf.d && echo 'server {{ listen 81; server_name {domain}; }}' > {path}"
    return Obstacle("a site of somebody else's with the name", make, f"rm -f {path}")


def _link_for_site(tenant: str, domain: str) -> Obstacle:
    path = f"/home/{tenant}/web/{domain}"
    make = f"test ! -d /home/{tenant}/web || {{ rm -rf {path}; ln -s /etc {path}; }}"
    return Obstacle("a link in the place of a site's directory", make, f"test ! -L {path} || rm {path}")


def _link_for_web(tenant: str, domain: str) -> Obstacle:
    path = f"/home/{tenant}/web"
    make = f"test ! -d /home/{tenant} || {{ rm -rf {path}; ln -s /var {path}; }}"
    return Obstacle("a link in the place of a tenant's directory", make, f"test ! -L {path} || rm {path}")


def _foreign_user(tenant: str, domain: str) -> Obstacle:
    make = f"getent passwd {tenant} || useradd --system --no-create-home {tenant}"
    return Obstacle(
        "somebody else's user",
        make,
        f"id -nG {tenant} 2>/dev/null | grep -qw wcp360-tenants || userdel {tenant} || true",
    )


def _foreign_group(tenant: str, domain: str) -> Obstacle:
    make = f"getent group {tenant} || groupadd --gid 900 {tenant}"
    clear = f'test "$(getent group {tenant} | cut -d: -f3)" != 900 || groupdel {tenant}'
    return Obstacle("somebody else's group", make, clear)


def _foreign_home(tenant: str, domain: str) -> Obstacle:
    make = f"test -e /home/{tenant} || install -d -o daemon -g daemon /home/{tenant}"
    return Obstacle(
        "somebody else's home", make, f'test "$(stat -c %U /home/{tenant})" != daemon || rm -r /home/{tenant}'
    )


def _contents(tenant: str, domain: str) -> Obstacle:
    web = f"/home/{tenant}/web/{domain}"
    return Obstacle(
        "a tenant's own files and links",
        f"test ! -d {web} || {{ mkdir -p {web}/a/b/c; echo x > {web}/a/b/c/d; ln -sf /etc/passwd {web}/a/link; "
        f"chown -hR {tenant}: {web}/a; }}",
    )


def _lost_directory(tenant: str, domain: str) -> Obstacle:
    return Obstacle(
        "a directory that a tenant removed", f"rm -rf /home/{tenant}/web/{domain}/public /home/{tenant}/tmp"
    )


def _other_modes(tenant: str, domain: str) -> Obstacle:
    paths = f"/home/{tenant} /home/{tenant}/web /home/{tenant}/web/{domain} /var/log/wcp360/nginx/{domain}"
    sites, others = "/etc/nginx/wcp360", ("/etc/wcp360/ssh", "/etc/wcp360/php")
    trees = f"{sites} {sites}/current/sites {sites}/current/pages"
    tops = " ".join(f"{tree}/generations {tree}/current" for tree in (sites, *others))
    foreign = f"{sites}/current/private"
    make = (
        f"for path in {paths} {trees} {tops}; do test ! -d $path || chmod 0755 $path/.; done; "
        f"test ! -d {sites}/current || install -d -m 0700 -o daemon {foreign}"
    )
    return Obstacle("other modes", make, f"rmdir {foreign} 2>/dev/null || true")


def _ours(tenant: str, domain: str) -> str:
    """Return words of a shell for files of ours: of a site, of a pool, of what all share, and of the system's."""
    trees = f"/etc/nginx/wcp360/current/sites/{domain}.conf /etc/wcp360/php/current/{tenant}.conf"
    return f"{trees} /etc/nginx/wcp360/current/http.conf /etc/logrotate.d/wcp360-php /usr/local/lib/wcp360/*.py"


def _changed_files(tenant: str, domain: str) -> Obstacle:
    make = f"for path in {_ours(tenant, domain)}; do test ! -f $path || echo '# by hand' >> $path; done"
    return Obstacle("files of ours that somebody changed", make)


def _changed_modes(tenant: str, domain: str) -> Obstacle:
    make = f"for path in {_ours(tenant, domain)}; do test ! -f $path || {{ chmod 0600 $path; chown 1 $path; }}; done"
    return Obstacle("files of ours that are somebody else's now", make)


def _lost_files(tenant: str, domain: str) -> Obstacle:
    return Obstacle("files of ours that somebody removed", f"rm -f {_ours(tenant, domain)}")


def _changed_account(tenant: str, domain: str) -> Obstacle:
    ours = f"id -nG {tenant} 2>/dev/null | grep -qw wcp360-tenants"
    make = f"! {ours} || {{ usermod --shell /bin/sh --comment changed {tenant}; echo {tenant}:secret | chpasswd; }}"
    return Obstacle("an account changed by hand", make)


def _process(tenant: str, domain: str) -> Obstacle:
    run = f"setsid setpriv --reuid {tenant} --clear-groups --regid {tenant} sleep 300 < /dev/null > /dev/null 2>&1 &"
    ours = f"id -nG {tenant} 2>/dev/null | grep -qw wcp360-tenants"
    return Obstacle(
        "a process of the tenant's", f"if {ours}; then {run} fi; sleep 0.2", f"pkill -u {tenant} sleep || true"
    )


def left_files(tenant: str, domain: str) -> Obstacle:
    """Return files of a tenant's that its deletion has to find by the uid."""
    ours = f"id -nG {tenant} 2>/dev/null | grep -qw wcp360-tenants"
    make = (
        f"! {ours} || {{ mkdir -p /tmp/of-{tenant}/x /var/spool/cron/crontabs; touch /tmp/of-{tenant}/y "
        f"/var/spool/cron/crontabs/{tenant}; chown -R {tenant}: /tmp/of-{tenant}; }}"
    )
    clear = f"rm -rf /tmp/of-{tenant} /var/spool/cron/crontabs/{tenant}"
    return Obstacle("files outside of the home", make, clear)


def _stopped_nginx(tenant: str, domain: str) -> Obstacle:
    make = "test ! -e /etc/nginx/wcp360/current || systemctl stop nginx"
    return Obstacle("an Nginx that was stopped", make, "systemctl start nginx || true")


def _stopped_socket(tenant: str, domain: str) -> Obstacle:
    units = f"wcp360-php@{tenant}.socket wcp360-php@{tenant}.service"
    return Obstacle("a PHP that was stopped", f"systemctl stop {units} 2>/dev/null || true")


def _awake_master(tenant: str, domain: str) -> Obstacle:
    return Obstacle("a PHP that has work", f"systemctl start wcp360-php@{tenant}.service 2>/dev/null || true")


def _full_trash(tenant: str, domain: str) -> Obstacle:
    make = "test ! -d /home/.wcp360-trash || chmod 0755 /home/.wcp360-trash"
    return Obstacle("a trash that others can read", make, make.replace("0755", "0700"))


MAKERS: tuple[Maker, ...] = (
    _bad_include,
    _good_include,
    _foreign_file,
    _foreign_site,
    _link_for_site,
    _link_for_web,
    _foreign_user,
    _foreign_group,
    _foreign_home,
    _contents,
    _contents,
    _lost_directory,
    _other_modes,
    _changed_files,
    _changed_modes,
    _lost_files,
    _changed_account,
    _process,
    left_files,
    _stopped_nginx,
    _stopped_socket,
    _awake_master,
    _full_trash,
)


def draw(rng: Random, world: World, tenants: tuple[str, ...], domains: tuple[str, ...]) -> Obstacle:
    """Draw an obstacle for what is there, or for what may come."""
    tenant = rng.choice(sorted(world.tenants) or list(tenants)) if rng.random() < 0.8 else rng.choice(tenants)
    theirs = sorted(domain for domain, owner in world.domains.items() if owner == tenant)
    domain = rng.choice(theirs) if theirs and rng.random() < 0.7 else normalise_domain(rng.choice(domains))
    return rng.choice(MAKERS)(tenant, domain)
