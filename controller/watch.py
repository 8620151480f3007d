"""Notices that a topology's files have changed, a millisecond or two after they were saved, and says which.

    inotify: written and closed, renamed ──► gathered for a moment ──┐
             written, not closed yet     ──► waits for the close     ├──► changed({paths}), or changed(None): anything may be
             gone                        ──► may come back at once   │
    a look by stat, once a second        ──► what inotify missed ────┘

A file that is open for writing is half-written, so it is not told before it is closed. The look sees folders swapped by links that
nobody watches, network file systems, and what happened between the first load and the start. No wall clock is used, and times of
files are compared for equality only: a clock that is set back hides nothing.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from inotify_simple import Event, INotify, flags

LOG = logging.getLogger(__name__)

_GAP_S = 0.002  # Files that are saved within this time of each other are told together,
_PATIENCE_S = 0.1  # but nobody who keeps saving keeps the others waiting.
_RETURN_S = 0.05  # Editors and git take the old file away before they make the new one.
_OPEN_S = 10.0  # Who has not written for so long has written what there is to write, or the close was not to be seen.
_LOOK_S = 1.0
_QUIET_S = 0.2  # A change that only stat sees must stand for so long. Without inotify it is looked for as often.

_WRITTEN = flags.CLOSE_WRITE | flags.MOVED_TO
_GONE = flags.MOVED_FROM | flags.DELETE
_SELF = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT | flags.IGNORED
_MASK = _WRITTEN | _GONE | flags.CREATE | flags.MODIFY | flags.ATTRIB | flags.DELETE_SELF | flags.MOVE_SELF
_HOW = flags.ONLYDIR | flags.EXCL_UNLINK  # Who still writes to what was replaced is of no interest.

Identity = tuple[int, ...]
Signature = Mapping[str, Identity]  # By the path's text.
Changed = Callable[[frozenset[Path] | None], None]


def signature(folder: Path) -> dict[str, Identity]:
    """Return what identifies the present contents of a topology folder: inode, size and times of each file, inodes of folders."""
    found: dict[str, Identity] = {}
    tenants = folder / "tenants"
    for place in (folder, tenants):
        prefix = str(place / "*").removesuffix("*")
        try:
            state = place.stat()
            # Thousands of files are looked at every second, so their paths stay text.
            names = [name for name in os.listdir(place) if _is_told(place == folder, name)]  # noqa: PTH208
        except OSError:
            continue
        found[str(place)] = state.st_dev, state.st_ino
        found.update((path, _identity(path)) for path in map(prefix.__add__, names))
    return found


def _identity(path: str) -> Identity:
    """Return what identifies a file's contents, nothing for one that is not there."""
    try:
        state = os.stat(path)  # noqa: PTH116
    except OSError:
        return ()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _is_told(is_top: bool, name: str) -> bool:
    """Whether a name may say something to the loader: hidden files are editors' own."""
    return not name.startswith(".") and (not is_top or _is_read(name))


def _is_read(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


class Watcher:
    """Calls `changed` from a thread of its own with the paths, below `folder` as it is given, of files that changed.

    None stands for everything: a folder was swapped, or what happened is not known. `since` is the signature taken before the files
    were first read; without it only what changes from now on is told.
    """

    def __init__(self, folder: Path, changed: Changed, since: Signature | None = None) -> None:
        self._folder = folder
        self._changed = changed
        self._seen = dict(signature(folder) if since is None else since)
        self._news = _News(folder)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._eye = _Eye(folder)
        self._thread = threading.Thread(target=self._run, args=(self._eye,), name="watch", daemon=True)
        self._doubt: Signature | None = None  # What the last look saw that has not been told.

    def start(self) -> None:
        """Begin to watch; what is written from now on is waited for until it is closed."""
        self._eye.aim()
        self._thread.start()

    def close(self) -> None:
        """Stop watching, for good; nothing is told any more once this returns."""
        os.eventfd_write(self._stop, 1)
        if self._thread.is_alive():
            self._thread.join()
        self._eye.close()

    def _run(self, eye: _Eye) -> None:
        look = time.monotonic()  # At once: something may have happened before the eye was open.
        while eye.waits(self._stop, min(look, self._news.due()) - time.monotonic()):
            now = time.monotonic()
            for event in eye.events():
                self._news.note(eye.place(event), event, now)
            if self._news.take_moved():
                eye.aim()
            if self._news.due() <= now:
                self._tell(*self._news.take(now))
            if look <= now:
                look = now + self._look(eye)
            if self._news.is_doubtful:
                look = min(look, now + _QUIET_S)

    def _tell(self, paths: frozenset[Path], everything: bool) -> None:
        """Pass on what has changed, and remember what it looked like: who changes it after this is heard of again."""
        if not paths and not everything:
            return
        if everything:
            self._seen = signature(self._folder)
        for path in () if everything else map(str, paths):
            identity = _identity(path)
            if identity:
                self._seen[path] = identity
            else:
                self._seen.pop(path, None)
        try:
            self._changed(None if everything else paths)
        except Exception:
            LOG.exception("what changed in %s could not be passed on", self._folder)

    def _look(self, eye: _Eye) -> float:
        """Compare what is there with what was told; return after how many seconds to look again."""
        found = signature(self._folder)
        differing = {path for path in found.keys() | self._seen.keys() if found.get(path) != self._seen.get(path)}
        differing -= set(map(str, self._news.expected()))
        usual = _LOOK_S if eye.is_open else _QUIET_S
        if not differing and not self._news.is_doubtful:
            self._doubt = None
            return usual
        doubt = {path: found.get(path, ()) for path in differing}
        if self._doubt != doubt:
            self._doubt = doubt
            return _QUIET_S
        folders = {str(self._folder), str(self._folder / "tenants")}
        everything = self._news.is_doubtful or not folders.isdisjoint(differing)
        if everything:
            eye.aim()
            self._news.forget()
        self._doubt = None
        self._tell(frozenset(map(Path, differing)), everything)
        return usual


class _Eye:
    """inotify's watches on the folder, on its `tenants`, and on what the folder stands in."""

    def __init__(self, folder: Path) -> None:
        self._places = (folder, folder / "tenants", folder.absolute().parent)
        self._watches: dict[int, Path] = {}
        self._inotify: INotify | None = None
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            self._give_up(error)

    @property
    def is_open(self) -> bool:
        """Whether anything is seen at all."""
        return self._inotify is not None

    def waits(self, stop: int, seconds: float) -> bool:
        """Wait for events, at most so long; return False once there is something to read from `stop`."""
        wait = select.poll()
        wait.register(stop, select.POLLIN)
        if self._inotify is not None:
            wait.register(self._inotify, select.POLLIN)
        return all(number != stop for number, _ in wait.poll(max(0.0, seconds) * 1000))

    def aim(self) -> None:
        """Watch what stands at the places now. A place that is not there is noticed by the one above it."""
        if self._inotify is None:
            return
        watches: dict[int, Path] = {}
        for place in self._places:
            try:
                watches.setdefault(self._inotify.add_watch(place, _MASK | _HOW), place)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            except OSError as error:
                self._give_up(error)
                return
        for watch in self._watches.keys() - watches.keys():
            try:
                self._inotify.rm_watch(watch)
            except OSError:
                continue  # It ended with what it watched.
        self._watches = watches

    def events(self) -> list[Event]:
        """Return what happened since the last time."""
        return list(self._inotify.read(timeout=0)) if self._inotify is not None else []

    def place(self, event: Event) -> Path | None:
        """Return the folder in which an event happened, None if that is not watched any more."""
        return self._watches.get(event.wd)

    def close(self) -> None:
        """Watch no more."""
        if self._inotify is not None:
            self._inotify.close()

    def _give_up(self, error: OSError) -> None:
        # The limits are the user's (fs.inotify.max_user_instances and max_user_watches), and others spend them too.
        LOG.warning("files are looked at every %.1f s, because they cannot be watched: %s", _QUIET_S, error)
        self.close()
        self._inotify = None
        self._watches = {}


class _News:
    """What happened to the files and has not been told yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tenants = folder / "tenants"
        self._name = folder.absolute().name
        self.forget()

    def forget(self) -> None:
        """Start anew: everything has been told."""
        self.is_doubtful = False  # What happened is not known, or not over.
        self._has_moved = False  # A folder may be another one than it was.
        self._everything = False
        self._paths: set[Path] = set()
        self._open: dict[Path, float] = {}  # being written -> when it will be taken as it is
        self._gone: dict[Path, float] = {}  # not there -> when that will be believed
        self._since = self._due = float("inf")

    def expected(self) -> set[Path]:
        """Return the paths that will be told in their time."""
        return self._paths | self._open.keys() | self._gone.keys()

    def due(self) -> float:
        """Return when there is something to tell, in seconds of the monotonic clock."""
        return min(self._due, *self._open.values(), *self._gone.values(), float("inf"))

    def take_moved(self) -> bool:
        """Return whether a folder may have become another one since the last time."""
        moved, self._has_moved = self._has_moved, False
        return moved

    def take(self, now: float) -> tuple[frozenset[Path], bool]:
        """Return the paths to tell now, if any, and whether everything is to be told."""
        for waiting in (self._open, self._gone):
            for path in [path for path, until in waiting.items() if until <= now]:
                del waiting[path]
                self._paths.add(path)
        self._since = self._due = float("inf")
        if not self._everything and not any(_is_read(path.name) for path in self._paths):
            return frozenset(), False  # Nobody reads what changed; it is told with the next thing that somebody reads.
        paths, everything = frozenset(self._paths), self._everything
        self._paths, self._everything = set(), False
        return paths, everything

    def note(self, place: Path | None, event: Event, now: float) -> None:
        """Take in an event of the folder `place`."""
        if event.mask & flags.Q_OVERFLOW:
            self.is_doubtful = True
        elif place is None:
            return
        elif event.mask & _SELF:
            self._has_moved = self.is_doubtful = True
        elif place not in (self._folder, self._tenants):
            if event.name == self._name:
                self._swapped(event, now)
        elif place / event.name == self._tenants or event.name.startswith(".."):
            # Kubernetes swaps a link `..data` to the folder in which the files really are.
            self._swapped(event, now)
        elif _is_told(place == self._folder, event.name):
            self._note_file(place / event.name, event.mask, now)

    def _swapped(self, event: Event, now: float) -> None:
        """Note that a folder came or went. What came by rename or as a link is complete; what was made is being filled."""
        self._has_moved = True
        if event.mask & flags.MOVED_TO or (event.mask & flags.CREATE and not event.mask & flags.ISDIR):
            self._everything, self.is_doubtful = True, False
            self._open.clear()
            self._gone.clear()
            self._tell_soon(now)
        elif event.mask & (_GONE | flags.CREATE):
            self.is_doubtful = True

    def _note_file(self, path: Path, mask: int, now: float) -> None:
        if mask & _GONE:
            self._open.pop(path, None)
            self._gone[path] = now + _RETURN_S
        elif mask & flags.MODIFY or (mask & flags.CREATE and _is_being_written(path)):
            self._gone.pop(path, None)
            self._open[path] = now + _OPEN_S
        elif mask & (_WRITTEN | flags.CREATE) or not (path in self._open or path in self._gone):
            self._open.pop(path, None)
            self._gone.pop(path, None)
            self._paths.add(path)
            if _is_read(path.name):
                self._tell_soon(now)

    def _tell_soon(self, now: float) -> None:
        self._since = min(self._since, now)
        self._due = min(now + _GAP_S, self._since + _PATIENCE_S)


def _is_being_written(path: Path) -> bool:
    """Whether a name that has just appeared is a new file, that its maker will close; links are complete at once."""
    try:
        state = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and state.st_nlink == 1
