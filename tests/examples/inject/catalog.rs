//! The system calls of `echod`, and the errors that each can return.

use rustix::io::Errno;

/// A system call, and what its manual page lists.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) errors: &'static [Error],
}

/// An error number, and its name.
pub(crate) type Error = (&'static str, Errno);

macro_rules! calls {
    ($($name:literal: $($error:ident)*;)*) => {
        &[$(Call { name: $name, errors: &[$((stringify!($error), Errno::$error)),*] }),*]
    };
}

/// Every system call that `echod` makes and that can fail, with the errors of its manual page.
///
/// The list omits errors that the kernel cannot return to `echod`:
///
/// - EFAULT, EBADF, ENOTSOCK, EOPNOTSUPP of `accept`, and usually EINVAL. They mean that the
///   program passed a wrong pointer, descriptor or argument.
/// - EAGAIN from a socket: there is nothing to receive or no space to send, and then epoll reports
///   the next change. After an injected EAGAIN, the server would wait for a change that epoll never
///   reports. `getrandom` does not return EAGAIN either, because std does not ask it to wait for
///   entropy.
/// - Errors of other kinds of objects: `echod` calls `connect` only for Unix sockets, `fcntl` never
///   for locks, `prctl` only for thread names, and `ftruncate` only for open files.
pub(crate) const CALLS: &[Call] = calls! {
    "accept4": CONNABORTED INTR MFILE NFILE NOBUFS NOMEM PERM PROTO NETDOWN NOPROTOOPT HOSTDOWN NONET
        HOSTUNREACH NETUNREACH TIMEDOUT NOSR SOCKTNOSUPPORT PROTONOSUPPORT;
    "bind": ACCESS ADDRINUSE ADDRNOTAVAIL LOOP NAMETOOLONG NOENT NOMEM NOTDIR ROFS;
    "clock_nanosleep": INTR;
    "clone3": AGAIN NOMEM NOSPC NOSYS PERM USERS;
    "close": INTR IO NOSPC DQUOT;
    "connect": ACCESS AGAIN CONNREFUSED NOENT PERM PROTOTYPE;
    "epoll_create1": MFILE NFILE NOMEM;
    "epoll_ctl": NOMEM NOSPC PERM LOOP;
    "epoll_wait": INTR;
    "eventfd2": MFILE NFILE NODEV NOMEM;
    "fchmod": IO NOMEM PERM ROFS;
    "fcntl": MFILE PERM;
    "flock": INTR NOLCK WOULDBLOCK;
    "fsync": INTR IO NOSPC DQUOT ROFS;
    "ftruncate": FBIG INTR IO PERM;
    "getpeername": NOBUFS NOTCONN;
    "getrandom": INTR NOSYS;
    "getsockname": NOBUFS;
    "getsockopt": NOPROTOOPT NOMEM;
    "ioctl": NOTTY PERM;
    "linkat": ACCESS DQUOT EXIST IO LOOP MLINK NAMETOOLONG NOENT NOMEM NOSPC NOTDIR PERM ROFS XDEV;
    "listen": ADDRINUSE OPNOTSUPP;
    "lseek": OVERFLOW SPIPE;
    "madvise": AGAIN NOMEM;
    "mmap": ACCESS AGAIN NFILE NODEV NOMEM PERM;
    "mprotect": ACCESS NOMEM;
    "mremap": AGAIN NOMEM;
    "munmap": NOMEM;
    "newfstatat": ACCESS LOOP NAMETOOLONG NOENT NOMEM NOTDIR OVERFLOW;
    "open": ACCESS BUSY DQUOT EXIST INTR INVAL ISDIR LOOP MFILE NAMETOOLONG NFILE NODEV NOENT NOMEM NOSPC
        NOTDIR NXIO OPNOTSUPP OVERFLOW PERM ROFS TXTBSY;
    "openat": ACCESS BUSY DQUOT EXIST INTR INVAL ISDIR LOOP MFILE NAMETOOLONG NFILE NODEV NOENT NOMEM
        NOSPC NOTDIR NXIO OPNOTSUPP OVERFLOW PERM ROFS TXTBSY;
    "pipe2": MFILE NFILE;
    "poll": INTR NOMEM;
    "prctl": PERM NOSYS;
    "prlimit64": PERM;
    "read": INTR IO ISDIR NOMEM;
    "readlink": ACCESS IO LOOP NAMETOOLONG NOENT NOMEM NOTDIR;
    "recvfrom": CONNREFUSED CONNRESET HOSTUNREACH INTR NETDOWN NETUNREACH NOBUFS NOMEM NOTCONN TIMEDOUT;
    "rename": ACCESS BUSY DQUOT EXIST IO ISDIR LOOP MLINK NAMETOOLONG NOENT NOMEM NOSPC NOTDIR NOTEMPTY
        PERM ROFS XDEV;
    "sched_getaffinity": PERM NOSYS;
    "sendto": ACCESS CONNRESET HOSTUNREACH INTR MSGSIZE NETDOWN NETUNREACH NOBUFS NOMEM NOTCONN PERM
        PIPE TIMEDOUT;
    "setsockopt": NOBUFS NOMEM NOPROTOOPT PERM;
    "shutdown": NOTCONN;
    "sigaltstack": NOMEM PERM;
    "socket": ACCESS AFNOSUPPORT MFILE NFILE NOBUFS NOMEM PROTONOSUPPORT;
    "socketpair": AFNOSUPPORT MFILE NFILE NOMEM OPNOTSUPP PROTONOSUPPORT;
    "statx": ACCESS LOOP NAMETOOLONG NOENT NOMEM NOTDIR;
    "unlink": ACCESS BUSY IO ISDIR LOOP NAMETOOLONG NOENT NOMEM NOTDIR PERM ROFS;
    "write": AGAIN DQUOT FBIG INTR IO NOSPC PERM PIPE;
};

/// Calls that cannot fail with the arguments that `echod` passes, calls whose errors only the C
/// library sees, and two in which an injected error would be one that no kernel returns: `brk` reports
/// a failure by its old result, and only some kinds of `futex` can fail.
pub(crate) const WITHOUT_ERRORS: &[&str] = &[
    "brk",
    "exit",
    "exit_group",
    "futex",
    "getpid",
    "getppid",
    "gettid",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_yield",
    "set_robust_list",
];

/// Whether a failure means that memory is exhausted, which ends every Rust program.
pub(crate) fn allocates(call: &str) -> bool {
    ["mmap", "mprotect", "mremap", "munmap"].contains(&call)
}
