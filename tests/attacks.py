"""Attacks on the sandbox: programs that print ESCAPED where they get what they want.

Name → (the statuses that they may end with, the program). `@SECRET@`, `@PORT@` … are the canaries of the test.
"""

PRELUDE = """
import ctypes, os, signal, socket, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what, wanted=lambda result: True):
    try:
        result = what()
    except BaseException as error:
        print("refused:", type(error).__name__, error)
        return
    print("ESCAPED" if wanted(result) else "nothing:", result)
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""

OK, FAILED, TIMEOUT, OUTPUT = "ok", "failed", "timeout", "output"

ATTACKS: dict[str, tuple[set[str], str]] = {
    # Time.
    "endless loop": ({TIMEOUT}, "while True: pass"),
    "sleep": ({TIMEOUT}, "time.sleep(1000)"),
    "signals ignored": (
        {TIMEOUT},
        """
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass""",
    ),
    "every output closed, then a loop": ({TIMEOUT}, "os.closerange(0, 64)\nwhile True: pass"),
    # On a fast machine it is out of memory first.
    "a loop in C that holds the lock": ({TIMEOUT, "failed"}, "(2 ** 10 ** 7) ** 1000"),
    "a loop at exit": (
        {TIMEOUT},
        "import atexit\n@atexit.register\ndef last():\n    while True: pass",
    ),
    "a thread that outlives the program": ({TIMEOUT}, "threading.Thread(target=time.sleep, args=(1000,)).start()"),
    "a daemon thread": (
        {OK},
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
    ),
    "input that never comes": ({FAILED}, "while True: input()"),
    "a stop signal to itself": ({TIMEOUT}, "os.kill(os.getpid(), signal.SIGSTOP)"),
    # Processes.
    "fork bomb": ({OK}, "attempt(lambda: [os.fork() for _ in range(1000)])"),
    "double fork that survives": (
        {OK},
        """
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
attempt(daemon)""",
    ),
    "subprocess": ({OK}, "import subprocess\nattempt(lambda: subprocess.run([sys.executable, '-c', 'pass']))"),
    "multiprocessing": (
        {OK},
        "import multiprocessing\nattempt(lambda: multiprocessing.Process(target=print).start())",
    ),
    "posix_spawn": ({OK}, "attempt(lambda: os.posix_spawn(sys.executable, [sys.executable], {}))"),
    "vfork": ({OK}, "attempt(lambda: call(58) if os.uname().machine == 'x86_64' else os.fork())"),
    "clone3": ({OK}, "attempt(lambda: call(435, ctypes.create_string_buffer(88), 88))"),
    "clone with a new user namespace": (
        {OK},
        "attempt(lambda: call(56 if os.uname().machine == 'x86_64' else 220, 0x10000000 | 17, 0, 0, 0, 0))",
    ),
    "fork by the 32-bit interface": (
        {OK, FAILED},
        """
import mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex("b802000000cd80c3"))
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
attempt(lambda: ctypes.CFUNCTYPE(ctypes.c_int)(address)(), lambda result: result > 0)""",
    ),
    "threads without end": (
        {OK, FAILED, TIMEOUT},
        """
threading.stack_size(32768)
def more():
    while True: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
attempt(more)""",
    ),
    "another interpreter that forks": (
        {OK, FAILED},
        "os.execv(sys.executable, [sys.executable, '-S', '-c', 'import os; os.fork(); print(\"ESCAPED\")'])",
    ),
    "a shell": ({OK}, "attempt(lambda: os.execv('/bin/sh', ['sh', '-c', 'echo ESCAPED']))"),
    # Memory.
    "memory by a list": ({OK}, "attempt(lambda: [bytes(1 << 20) for _ in range(10000)])"),
    "memory by a mapping": ({OK}, "import mmap\nattempt(lambda: mmap.mmap(-1, 8 << 30))"),
    "memory by text": ({OK}, "attempt(lambda: 'x' * (1 << 34))"),
    "memory by files in memory": ({OK}, "attempt(lambda: os.memfd_create('x'))"),
    "memory by shared segments": (
        {OK},
        "attempt(lambda: call(29 if os.uname().machine == 'x86_64' else 194, 0, 1 << 30, 0o1600))",
    ),
    "memory by messages and semaphores": (
        {OK},
        """
x86 = os.uname().machine == "x86_64"
attempt(lambda: call(64 if x86 else 190, 0, 30000, 0o1600))
attempt(lambda: call(68 if x86 else 186, 0, 0o1600))""",
    ),
    "memory in threads": (
        {OK, FAILED, TIMEOUT},
        "for _ in range(8): threading.Thread(target=lambda: attempt(lambda: bytearray(200 << 20) * 3)).start()",
    ),
    "a large number as text": ({OK}, "attempt(lambda: str(10 ** 100000))"),
    "recursion": ({FAILED, TIMEOUT}, "sys.setrecursionlimit(1 << 30)\ndef f(x): return [f(x)]\nf(1)"),
    "recursion of the parser": ({FAILED, OK}, "attempt(lambda: eval('(' * 10 ** 6))"),
    # Disk.
    "one large file": (
        {OK},
        "attempt(lambda: open('/tmp/x', 'wb').write(bytes(64 << 20)))",
    ),
    "many files": (
        {OK},
        "attempt(lambda: [open(f'/tmp/{i}', 'wb').write(bytes(1 << 20)) for i in range(64)])",
    ),
    "files without end": (
        {TIMEOUT, FAILED},
        "import itertools\nfor i in itertools.count(): os.mkdir(f'/tmp/{i}')",
    ),
    "a file that is all hole": (
        {OK},
        "attempt(lambda: os.truncate(os.open('/tmp/x', os.O_CREAT | os.O_RDWR), 1 << 40))",
    ),
    "writing outside": (
        {OK},
        """
for path in ("/x", "/program.py", "/usr/lib/x", "/etc/x", "/dev/x", "/dev/shm/x", "@SECRET@", os.__file__):
    attempt(lambda: open(path, "a").write("x"))""",
    ),
    "removing what is there": (
        {OK},
        "for path in ('/program.py', os.__file__, '/etc/ld.so.cache', '@SECRET@'): attempt(lambda: os.remove(path))",
    ),
    # Output.
    "output without end": ({OUTPUT}, "while True: print('x' * 1000)"),
    "errors without end": ({OUTPUT}, "while True: print('x' * 1000, file=sys.stderr)"),
    "one very long line": ({OUTPUT}, "while True: os.write(1, bytes(1 << 16))"),
    "binary output": ({OK}, "os.write(1, bytes(range(256)))"),
    "half a character": ({OK}, "os.write(1, '\\U0001f600'.encode()[:2])"),
    "half an escape sequence": ({OK}, "os.write(1, b'\\x1b]0;title')"),
    "output replaced": ({FAILED}, "sys.stdout = sys.stderr = None\nos.close(1)\nraise SystemExit(3)"),
    # Reading.
    "reading a secret": ({OK}, "attempt(lambda: open('@SECRET@').read())"),
    "a symbolic link to a secret": ({OK}, "os.symlink('@SECRET@', '/tmp/x')\nattempt(lambda: open('/tmp/x').read())"),
    "a hard link to a secret": ({OK}, "attempt(lambda: os.link('@SECRET@', '/tmp/x'))"),
    "a path upwards": ({OK}, "attempt(lambda: open('../' * 40 + '@SECRET@'[1:]).read())"),
    "passwords": (
        {OK},
        "for name in ('passwd', 'shadow', 'hostname', 'resolv.conf'): attempt(lambda: open(f'/etc/{name}').read())",
    ),
    "homes": (
        {OK},
        "for path in ('/home', '/root/.ssh', os.path.expanduser('~')): attempt(lambda: os.listdir(path), len)",
    ),
    "all that is there": (
        {OK},
        """
def secrets():
    return [path for path, _, names in os.walk("/") if "@NAME@" in names]
attempt(secrets, len)""",
    ),
    "packages": (
        {OK},
        """
import glob, sysconfig
stdlib = os.path.dirname(os.__file__)
sys.path += [*glob.glob("/usr/lib/python3*/*-packages"), f"{stdlib}/site-packages", "@SOURCE@"]
sys.path.append(sysconfig.get_path("purelib"))
for name in ("simplerl", "numpy", "pip", "torch"): attempt(lambda: __import__(name))""",
    ),
    "the environment": ({OK}, "attempt(lambda: dict(os.environ), lambda result: 'SECRET' in str(result))"),
    "the parent's environment": (
        {OK},
        """
for number in ("self", "1", os.getppid(), @CANARY@):
    attempt(lambda: open(f"/proc/{number}/environ").read())""",
    ),
    "processes": ({OK}, "attempt(lambda: os.listdir('/proc'))"),
    "kernel settings": ({OK}, "attempt(lambda: os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY))"),
    "devices": (
        {OK},
        """
for name in ("mem", "kmsg", "sda", "vda", "kvm", "fuse", "tty", "ptmx", "shm", "net/tun"):
    attempt(lambda: os.open(f"/dev/{name}", os.O_RDONLY))
attempt(lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0)))""",
    ),
    "inherited files": (
        {OK},
        """
def inherited():
    there = []
    for number in range(3, 1024):
        try: os.fstat(number)
        except OSError: continue
        there.append(number)
    return there
attempt(inherited, len)""",
    ),
    "its own input": ({OK}, "attempt(lambda: os.write(0, b'x'))\nattempt(lambda: os.ftruncate(0, 1 << 30))"),
    "keys": ({OK}, "attempt(lambda: call(250 if os.uname().machine == 'x86_64' else 219, 0, -3, 1))"),
    "the kernel's log": ({OK}, "attempt(lambda: libc.klogctl(10, 0, 0), lambda result: result > 0)"),
    # Others.
    "signals to everybody": ({OK}, "attempt(lambda: os.kill(-1, 9))"),
    "a signal to the parent": (
        {OK},
        "os.kill(os.getppid(), 9)\ntime.sleep(0.1)\nprint('alive')",
    ),
    "a signal to a process outside": ({OK}, "attempt(lambda: os.kill(@CANARY@, 9))"),
    "a signal to its own group": ({FAILED}, "os.killpg(0, 9)"),
    "tracing": (
        {OK},
        """
number = 101 if os.uname().machine == "x86_64" else 117
for process in (1, @CANARY@): attempt(lambda: call(number, 16, process, 0, 0))""",
    ),
    "another process's memory": (
        {OK},
        """
number = 310 if os.uname().machine == "x86_64" else 270
attempt(lambda: call(number, @CANARY@, ctypes.create_string_buffer(64), 1, ctypes.create_string_buffer(64), 1, 0))""",
    ),
    # Networks.
    "loopback": ({OK}, "attempt(lambda: socket.create_connection(('127.0.0.1', @PORT@), timeout=0.5))"),
    "names": ({OK}, "attempt(lambda: socket.getaddrinfo('example.org', 80))"),
    "datagrams": ({OK}, "attempt(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53)))"),
    "a socket in the file system": (
        {OK},
        "attempt(lambda: socket.socket(socket.AF_UNIX).connect('@SOCKET@'))",
    ),
    "an abstract socket": ({OK}, "attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0@NAME@'))"),
    "the machine below": ({OK}, "attempt(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).connect((2, 22)))"),
    "a raw socket": ({OK}, "attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))"),
    "a ring of system calls": ({OK}, "attempt(lambda: call(425, 8, ctypes.create_string_buffer(120)))"),
    # Rights.
    "another user": ({OK}, "attempt(lambda: os.setuid(0))\nattempt(lambda: os.setgroups([0]))"),
    "a set-user-id file": (
        {OK},
        """
open("/tmp/x", "w").write("#!/bin/sh")
os.chmod("/tmp/x", 0o4777)
attempt(lambda: os.execv("/tmp/x", ["x"]))
attempt(lambda: os.chown("/tmp/x", 0, 0))""",
    ),
    "a root of its own": ({OK}, "os.mkdir('/tmp/x')\nattempt(lambda: os.chroot('/tmp/x'))"),
    "mounting": (
        {OK},
        "attempt(lambda: call(165 if os.uname().machine == 'x86_64' else 40, b'none', b'/tmp', b'proc', 0, 0))",
    ),
    "unmounting": ({OK}, "attempt(lambda: call(166 if os.uname().machine == 'x86_64' else 39, b'/usr/lib', 2))"),
    "a new mount interface": ({OK}, "attempt(lambda: call(430, b'tmpfs', 0))"),
    "namespaces": (
        {OK},
        """
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000):
    attempt(lambda: call(272 if os.uname().machine == "x86_64" else 97, flag))""",
    ),
    "higher limits": (
        {OK},
        """
import resource
for name in ("AS", "CPU", "FSIZE", "NPROC", "CORE", "NOFILE"):
    attempt(lambda: resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (1 << 40, 1 << 40)))""",
    ),
    "the clock": ({OK}, "attempt(lambda: time.clock_settime(time.CLOCK_REALTIME, 0))"),
    "the host's name": ({OK}, "attempt(lambda: socket.sethostname('x'))"),
    "priority": (
        {OK},
        "attempt(lambda: os.nice(-5))\nattempt(lambda: os.sched_setscheduler(0, 1, os.sched_param(99)))",
    ),
    "programs in the kernel": (
        {OK},
        "attempt(lambda: call(321 if os.uname().machine == 'x86_64' else 280, 5, bytes(120), 120))",
    ),
    "a restart": ({OK}, "attempt(lambda: libc.reboot(0x1234567), lambda result: result == 0)"),
    # Ends.
    "a crash": ({FAILED}, "ctypes.string_at(0)"),
    "an abort": ({FAILED}, "os.abort()"),
    "no program at all": ({FAILED}, "\0"),
    "a killed interpreter": ({FAILED}, "os.kill(os.getpid(), 9)"),
}
