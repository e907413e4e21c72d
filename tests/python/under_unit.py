#!/usr/bin/env python3
"""Runs a program under the limits of a systemd unit, without systemd.

    under_unit.py UNIT HOME PROGRAM [ARGUMENT...]    runs PROGRAM
    under_unit.py UNIT HOME --probe                  tries what is forbidden and says how it went
    under_unit.py UNIT --not-applied                 lists the settings that are not applied, and why

The settings are read from the unit itself, so what is run here is what the unit says. HOME is the
directory with the settings and `data`, of which only `data` can be written, as the state directory;
`HOME/identity` is handed over as the credential. Needs root, libseccomp and systemd-analyze.

A setting that this program neither applies nor names in NOT_APPLIED is an error: a new line in the
unit cannot go unnoticed.
"""
import ctypes
import json
import mmap
import os
import resource
import socket
import subprocess
import sys

# Settings that say when and how the unit is run, and nothing about what it may do.
NEUTRAL = """Description Documentation Wants After Type ExecStart ExecReload Restart RestartSec
    TimeoutStopSec KillMode WantedBy Group StateDirectory StateDirectoryMode""".split()

# What cannot be done, or not be seen, without systemd's control groups.
NOT_APPLIED = {
    "DevicePolicy": "a program in the kernel for a control group; /dev has only what PrivateDevices leaves",
    "IPAddressAllow": "a program in the kernel for a control group",
    "IPAddressDeny": "a program in the kernel for a control group",
    "SocketBindAllow": "a program in the kernel for a control group",
    "SocketBindDeny": "a program in the kernel for a control group",
    "MemorySwapMax": "a control group",
    "TasksMax": "a control group",
    "KeyringMode": "the program uses no keyring; add_key and keyctl stay possible",
    "NotifyAccess": "there is nobody to notify",
    "RemoveIPC": "happens after the end",
    "Delegate": "a control group",
}

USER = 64007
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER = 0x20000, 0x4000000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
SYS_MOUNT_SETATTR = 442


def check(result, what):
    if result < 0:
        error = ctypes.get_errno()
        sys.exit(f"under_unit: {what}: {os.strerror(error)}")
    return result


def prctl(option, *arguments):
    values = [ctypes.c_ulong(a) for a in arguments + (0,) * (4 - len(arguments))]
    return libc.prctl(ctypes.c_int(option), *values)


def mount(source, target, kind=None, flags=0, data=None):
    encode = lambda text: None if text is None else text.encode()
    result = libc.mount(encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), encode(data))
    check(result, f"mount on {target}")


class MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def read_only(path, on=True, recursive=True):
    attr = MountAttr(MS_RDONLY if on else 0, 0 if on else MS_RDONLY, 0, 0)
    flags = 0x8000 if recursive else 0  # AT_RECURSIVE
    result = libc.syscall(SYS_MOUNT_SETATTR, -100, path.encode(), flags, ctypes.byref(attr), ctypes.sizeof(attr))
    check(result, f"read-only {path}")


def settings(path):
    found = {}
    for line in open(path):
        line = line.strip()
        if line and line[0] not in "#;[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def is_on(unit, name):
    return unit.get(name, ["no"])[-1] in ("yes", "true", "on", "1")


# ---- system calls ----

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NE, EQ, MASKED_EQ, GT = 1, 4, 7, 6
EPERM, EAFNOSUPPORT = 1, 97


class Arg(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class Filter:
    def __init__(self, default):
        self.lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self.lib.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.lib.seccomp_init(ctypes.c_uint32(default)))

    def add(self, action, name, *conditions):
        number = self.lib.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # not one of this architecture
        array = (Arg * max(1, len(conditions)))(*conditions)
        result = self.lib.seccomp_rule_add_array(
            self.context, ctypes.c_uint32(action), number, len(conditions), array
        )
        if result != 0:
            sys.exit(f"under_unit: rule for {name}: {os.strerror(-result)}")

    def load(self):
        result = self.lib.seccomp_load(self.context)
        if result != 0:
            sys.exit(f"under_unit: filter: {os.strerror(-result)}")


def group(name, seen=None):
    """The system calls of a group such as @system-service, as systemd itself expands it."""
    seen = set() if seen is None else seen
    if not name.startswith("@"):
        return {name}
    if name in seen:
        return set()
    seen.add(name)
    text = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", name], check=True, capture_output=True, text=True
    ).stdout
    calls = set()
    for line in text.splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#"):
            calls |= group(word, seen)
    return calls


def filters(unit):
    """Filters that forbid single things, and last the list of what is allowed at all."""
    denied = Filter(ALLOW)
    refuse = lambda name, *conditions: denied.add(ERRNO | EPERM, name, *conditions)
    families = unit.get("RestrictAddressFamilies")
    if families:
        numbers = sorted(getattr(socket, name) for name in families[-1].split())
        by_family = Filter(ALLOW)
        for number in range(max(numbers)):
            if number not in numbers:
                by_family.add(ERRNO | EAFNOSUPPORT, "socket", Arg(0, EQ, number, 0))
        by_family.add(ERRNO | EAFNOSUPPORT, "socket", Arg(0, GT, max(numbers), 0))
        by_family.load()
    if is_on(unit, "MemoryDenyWriteExecute"):
        write, execute = mmap.PROT_WRITE, mmap.PROT_EXEC
        both = write | execute
        refuse("mmap", Arg(2, MASKED_EQ, both, both))
        refuse("mprotect", Arg(2, MASKED_EQ, execute, execute))
        refuse("pkey_mprotect", Arg(2, MASKED_EQ, execute, execute))
        refuse("shmat", Arg(2, MASKED_EQ, 0o100000, 0o100000))
    if is_on(unit, "RestrictNamespaces"):
        for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
            refuse("unshare", Arg(0, MASKED_EQ, flag, flag))
            refuse("clone", Arg(0, MASKED_EQ, flag, flag))
        refuse("setns")
    if is_on(unit, "RestrictRealtime"):
        for policy in (1, 2, 6):
            refuse("sched_setscheduler", Arg(1, EQ, policy, 0))
    if is_on(unit, "RestrictSUIDSGID"):
        for bit in (0o4000, 0o2000):
            for name, at in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("creat", 1)):
                refuse(name, Arg(at, MASKED_EQ, bit, bit))
    if is_on(unit, "LockPersonality"):
        refuse("personality", Arg(0, NE, 0, 0))
    for name, calls in (
        ("ProtectClock", "@clock"),
        ("ProtectKernelModules", "@module"),
        ("ProtectKernelLogs", "syslog"),
        ("ProtectHostname", "sethostname"),
    ):
        if is_on(unit, name):
            for call in sorted(group(calls)):
                refuse(call)
    denied.load()
    allowed = set()
    for value in unit.get("SystemCallFilter", []):
        calls = set().union(*(group(word) for word in value.lstrip("~").split()))
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    if allowed:
        errno = unit.get("SystemCallErrorNumber", ["EPERM"])[-1]
        assert errno == "EPERM", errno
        listed = Filter(ERRNO | EPERM)
        for call in sorted(allowed | group("@default")):
            listed.add(ALLOW, call)
        listed.load()


# ---- what it sees ----


def stage(paths):
    """Binds that survive what is mounted over their places: bound aside now, and back later."""
    mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755")
    for number, path in enumerate(paths):
        aside = f"/mnt/{number}"
        if os.path.isdir(path):
            os.mkdir(aside)
        else:
            open(aside, "w").close()
        mount(path, aside, None, MS_BIND)
    return list(enumerate(paths))


def unstage(staged):
    for number, path in staged:
        if os.path.isdir(f"/mnt/{number}"):
            os.makedirs(path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not os.path.exists(path):
                open(path, "w").close()
        mount(f"/mnt/{number}", path, None, MS_BIND)


def mounts(unit, home, program):
    check(libc.unshare(CLONE_NEWNS), "unshare of mounts")
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    identity = open(os.path.join(home, "identity"), "rb").read()
    staged = stage([home] + program)
    hidden = []
    if is_on(unit, "PrivateTmp"):
        hidden += [("/tmp", "mode=1777"), ("/var/tmp", "mode=1777")]
    if is_on(unit, "ProtectHome"):
        # systemd makes them inaccessible. Whatever lies there is gone either way.
        hidden += [("/home", "mode=0755"), ("/root", "mode=0755"), ("/run/user", "mode=0755")]
    for path, mode in hidden:
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, mode)
    unstage(staged)
    if is_on(unit, "PrivateDevices"):
        names = ["null", "zero", "full", "random", "urandom"]
        aside = stage_devices(names)
        mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755")
        for name in names:
            open(f"/dev/{name}", "w").close()
            mount(f"{aside}/{name}", f"/dev/{name}", None, MS_BIND)
        os.symlink("/proc/self/fd", "/dev/fd")
    options = []
    if unit.get("ProcSubset", [""])[-1] == "pid":
        options.append("subset=pid")
    if unit.get("ProtectProc", [""])[-1] == "invisible":
        options.append("hidepid=invisible")
    if options:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, ",".join(options))
    # The credential, as LoadCredential= hands it over.
    credentials = "/mnt/credentials"
    os.mkdir(credentials, 0o500)
    mount("tmpfs", credentials, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0500")
    name = unit["LoadCredential"][-1].split(":")[0]
    with open(os.path.join(credentials, name), "wb") as file:
        os.fchmod(file.fileno(), 0o400)
        os.fchown(file.fileno(), USER, USER)
        file.write(identity)
    os.chown(credentials, USER, USER)
    os.environ["CREDENTIALS_DIRECTORY"] = credentials
    if unit.get("ProtectSystem", [""])[-1] == "strict":
        data = os.path.join(home, "data")
        mount(data, data, None, MS_BIND)
        read_only("/")
        read_only(data, on=False, recursive=False)
        # With ProcSubset=pid there is nothing of the kernel in it.
        read_only("/proc", on=False, recursive=False)
        for path in ("/tmp", "/var/tmp"):
            if is_on(unit, "PrivateTmp") and os.path.isdir(path):
                read_only(path, on=False, recursive=False)


def stage_devices(names):
    aside = "/mnt/devices"
    os.mkdir(aside)
    for name in names:
        open(f"{aside}/{name}", "w").close()
        mount(f"/dev/{name}", f"{aside}/{name}", None, MS_BIND)
    return aside


# ---- who it is ----


def become(unit):
    assert unit["User"], "a unit that runs as root is not what this is for"
    if is_on(unit, "PrivateUsers"):
        ready, begin = os.pipe()
        me = os.getpid()
        helper = os.fork()
        if helper == 0:
            os.read(ready, 1)
            maps = f"0 0 1\n{USER} {USER} 1\n"
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{me}/{name}", "w") as file:
                    file.write(maps)
            os._exit(0)
        check(libc.unshare(CLONE_NEWUSER), "unshare of users")
        os.write(begin, b"x")
        _, status = os.waitpid(helper, 0)
        assert status == 0, "the map of users"
        os.close(ready)
        os.close(begin)
    os.setgroups([])
    if unit.get("CapabilityBoundingSet") == [""]:
        for capability in range(64):
            if prctl(23, capability) == 1:
                check(prctl(24, capability), "the bounding set")
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    # A change of user forgets it.
    prctl(1, 9)
    if is_on(unit, "NoNewPrivileges"):
        check(prctl(38, 1), "no new privileges")


LIMITS = {"LimitCORE": resource.RLIMIT_CORE, "LimitNOFILE": resource.RLIMIT_NOFILE}
APPLIED = """User UMask LoadCredential NoNewPrivileges CapabilityBoundingSet AmbientCapabilities
    SystemCallArchitectures SystemCallFilter SystemCallErrorNumber MemoryDenyWriteExecute
    LockPersonality RestrictNamespaces RestrictRealtime RestrictSUIDSGID PrivateMounts ProtectSystem
    ProtectHome PrivateTmp PrivateDevices PrivateUsers ProtectProc ProcSubset ProtectClock
    ProtectControlGroups ProtectHostname ProtectKernelLogs ProtectKernelModules
    ProtectKernelTunables RestrictAddressFamilies""".split()


def probe():
    """Tries what the unit forbids; gives what went through."""
    went_through = []

    def attempt(name, action):
        try:
            if action() in (None, 0):
                went_through.append(name)
        except (OSError, ValueError, PermissionError):
            pass

    def call(name, *arguments):
        result = getattr(libc, name)(*arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), name)
        return 0

    attempt("write into /etc", lambda: open("/etc/strongroom-probe", "w").close())
    attempt("write into /usr", lambda: open("/usr/strongroom-probe", "w").close())
    attempt("write beside the data", lambda: open(os.path.join(sys.argv[2], "probe"), "w").close())
    attempt("see another's process", lambda: os.listdir("/proc/1/fd") and None)
    attempt("see /proc/kallsyms", lambda: open("/proc/kallsyms").close())
    attempt("map writable and executable memory", lambda: mmap.mmap(-1, 4096, prot=7).close())
    for family in ("AF_PACKET", "AF_NETLINK", "AF_ALG"):
        attempt(family, lambda: socket.socket(getattr(socket, family), socket.SOCK_RAW).close())
    attempt("a new namespace", lambda: call("unshare", CLONE_NEWUSER))
    attempt("mount", lambda: mount_or_raise())
    attempt("chroot", lambda: os.chroot("/"))
    attempt("ptrace", lambda: call("ptrace", 16, os.getppid(), 0, 0))
    attempt("set the host's name", lambda: socket.sethostname("x"))
    attempt("become root", lambda: os.setuid(0))
    attempt("a core file", lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)))
    attempt("set-user-id", lambda: set_user_id())
    attempt("bpf", lambda: call("syscall", 321, 0, 0, 0))
    # And two things that have to work, or nothing above means anything.
    open(os.path.join(sys.argv[2], "data", "probe"), "w").close()
    os.unlink(os.path.join(sys.argv[2], "data", "probe"))
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
    print(json.dumps({"went_through": went_through, "uid": os.getuid()}))


def mount_or_raise():
    if libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")


def set_user_id():
    path = os.path.join(sys.argv[2], "data", "suid")
    open(path, "w").close()
    try:
        os.chmod(path, 0o4755)
    finally:
        os.unlink(path)


def main():
    unit = settings(sys.argv[1])
    unknown = set(unit) - set(NEUTRAL) - set(NOT_APPLIED) - set(APPLIED) - set(LIMITS)
    if unknown:
        sys.exit(f"under_unit: no idea how to apply {', '.join(sorted(unknown))}")
    if sys.argv[2] == "--not-applied":
        print(json.dumps({name: NOT_APPLIED[name] for name in sorted(set(unit) & set(NOT_APPLIED))}))
        return
    home, command = sys.argv[2], sys.argv[3:]
    for root, directories, files in os.walk(home):
        for name in directories + files:
            os.chown(os.path.join(root, name), USER, USER, follow_symlinks=False)
    os.chown(home, USER, USER)
    here = os.path.dirname(os.path.abspath(__file__))
    mounts(unit, home, [here] if command == ["--probe"] else [command[0]])
    if is_on(unit, "ProtectHostname"):
        check(libc.unshare(CLONE_NEWUTS), "unshare of the host's name")
    for name, limit in LIMITS.items():
        if name in unit:
            # Less where this machine itself allows less.
            hard = resource.getrlimit(limit)[1]
            value = int(unit[name][-1])
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(limit, (value, value))
    os.umask(int(unit.get("UMask", ["022"])[-1], 8))
    os.chdir(home)
    become(unit)
    filters(unit)
    if command == ["--probe"]:
        return probe()
    os.execv(command[0], command)


main()
