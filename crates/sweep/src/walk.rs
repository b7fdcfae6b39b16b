//! All files of a node, one piece after the other.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hansa_wal::fs::Fs;

use crate::findings::Findings;
use crate::format::{Cursor, Format, Newest, Opened, last};
use crate::formats::{self, view};

/// Folders below one another.
const DEPTH_MAX: usize = 12;
/// How often a running node's files are listed again because some had gone.
const LISTED_MAX: usize = 8;

/// What is to be read.
pub struct Root {
    pub fs: Arc<dyn Fs>,
    /// A folder with all that is in it, or a file.
    pub path: PathBuf,
    /// What its files' names begin with; empty for a node's own folder.
    pub name: String,
    /// Whether its node is running.
    pub live: bool,
    /// How to read it; by its name when `None`.
    pub format: Option<Box<dyn Format>>,
}

impl Root {
    pub fn of(
        fs: &Arc<dyn Fs>,
        path: impl Into<PathBuf>,
        name: impl Into<String>,
        live: bool,
    ) -> Self {
        Self { fs: fs.clone(), path: path.into(), name: name.into(), live, format: None }
    }

    /// To be read as this, whatever its name.
    #[must_use]
    pub fn as_a(mut self, format: impl Format + 'static) -> Self {
        self.format = Some(Box::new(format));
        self
    }
}

/// How far a sweep is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub file: String,
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub finished: bool,
}

/// What holds for all that lies below a root.
#[derive(Clone)]
struct Under {
    fs: Arc<dyn Fs>,
    live: bool,
    format: Option<usize>,
}

/// A root of a running node: what goes there while it is read may have gone on in another file.
struct Live {
    under: Under,
    path: PathBuf,
    name: String,
}

struct Todo {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    name: String,
    length: u64,
    live: bool,
    /// Which of the roots' own formats, or of all.
    format: Option<usize>,
}

impl Todo {
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    fn is_checkpoint(&self) -> bool {
        self.name.ends_with(".ckpt")
    }

    fn rank(&self) -> u8 {
        match self.is_checkpoint() {
            true => 0,
            false if self.folder().ends_with("wal") => 1,
            false => 2,
        }
    }
}

/// A sweep under way.
pub struct Sweep {
    formats: Vec<Box<dyn Format>>,
    todo: VecDeque<Todo>,
    newest: Newest,
    live: Vec<Live>,
    /// All that was listed, so that nothing is read twice.
    listed: BTreeSet<PathBuf>,
    /// A file of a running node went before it was read.
    gone: bool,
    lists: usize,
    at: Cursor,
    views: VecDeque<(view::Source, Option<Vec<u8>>)>,
    done_bytes: u64,
    total_bytes: u64,
    pub findings: Findings,
    /// Files that could not be read, and why: nothing is known of them.
    pub unread: Vec<(String, String)>,
}

impl Sweep {
    /// Lists everything that there is.
    pub fn new(
        roots: Vec<Root>,
        more: Vec<Box<dyn Format>>,
        views: Vec<view::Source>,
        findings: Findings,
    ) -> Self {
        let mut formats = more;
        formats.extend(formats::all());
        let mut sweep = Self {
            formats,
            todo: VecDeque::new(),
            newest: Newest::new(),
            live: Vec::new(),
            listed: BTreeSet::new(),
            gone: false,
            lists: 1,
            at: Cursor::default(),
            views: views.into_iter().map(|view| (view, None)).collect(),
            done_bytes: 0,
            total_bytes: 0,
            findings,
            unread: Vec::new(),
        };
        for root in roots {
            let own = root.format.map(|format| {
                sweep.formats.push(format);
                sweep.formats.len() - 1
            });
            let live = root.live;
            let under = Under { fs: root.fs, live, format: own };
            sweep.list(&under, &root.path, root.name.clone(), 0);
            if live {
                sweep.live.push(Live { under, path: root.path, name: root.name });
            }
        }
        sweep.order();
        sweep
    }

    /// In which order what was listed is read.
    fn order(&mut self) {
        for todo in self.todo.iter().filter(|todo| todo.is_checkpoint()) {
            let newest = self.newest.entry(todo.folder().to_owned()).or_default();
            // Entries in decimal places enough for all: they sort as they follow.
            *newest = std::mem::take(newest).max(last(&todo.name).to_owned());
        }
        // What is in force first, before a running node writes another checkpoint. The log's
        // segments stay in the order of their numbers: what is copied out of one that is removed
        // goes into a later one, which is read after it.
        self.todo.make_contiguous().sort_by_key(Todo::rank);
        self.total_bytes += self.todo.iter().map(|todo| todo.length).sum::<u64>();
    }

    /// Lists a running node's files again if any has gone that was not read: what was in a segment
    /// is in a later one, what was in the log alone perhaps in a newer checkpoint. So long as
    /// nothing goes unread, all that there was when the sweep began has been read.
    fn list_again(&mut self) {
        while self.todo.is_empty() && std::mem::take(&mut self.gone) {
            if self.lists == LISTED_MAX {
                let why = "files went faster than they were read: sweep again";
                self.unread.push(("a running node".to_owned(), why.to_owned()));
                return;
            }
            self.lists += 1;
            let live = std::mem::take(&mut self.live);
            for Live { under, path, name } in &live {
                self.list(under, path, name.clone(), 0);
            }
            self.live = live;
            self.order();
        }
    }

    fn list(&mut self, under: &Under, path: &Path, name: String, depth: usize) {
        if depth > DEPTH_MAX {
            self.unread.push((name, "too many folders below one another".to_owned()));
            return;
        }
        if let Ok(inside) = under.fs.list(path) {
            for below in inside {
                let name = if name.is_empty() { below.clone() } else { format!("{name}/{below}") };
                self.list(under, &path.join(&below), name, depth + 1);
            }
            return;
        }
        if self.listed.contains(path) {
            return;
        }
        match under.fs.open(path).and_then(|file| file.len()) {
            Ok(length) => {
                self.listed.insert(path.to_owned());
                let name = if name.is_empty() { path.display().to_string() } else { name };
                let (fs, path) = (under.fs.clone(), path.to_owned());
                let Under { live, format, .. } = *under;
                self.todo.push_back(Todo { fs, path, name, length, live, format });
            }
            // Between the two calls.
            Err(error) if under.live && error.kind() == io::ErrorKind::NotFound => self.gone = true,
            Err(error) => self.unread.push((name, error.to_string())),
        }
    }

    /// Reads a piece more.
    pub fn step(&mut self) -> Step {
        self.list_again();
        let Some(todo) = self.todo.pop_front() else { return self.view_step() };
        let claimed = self.formats.iter().position(|format| format.claims(&todo.name));
        let Some(format) = todo.format.or(claimed) else {
            self.findings.unexplained(&todo.name, 0, todo.length, "no file of ours");
            return self.done(todo, "unknown");
        };
        let Self { formats, findings, newest, .. } = self;
        let format = &formats[format];
        let length = match todo.fs.open(&todo.path).and_then(|file| file.len()) {
            Ok(length) => length,
            Err(error) => return self.lost(todo, &error),
        };
        let Todo { fs, path, name, live, .. } = &todo;
        let opened = Opened { fs, path, name, length, live: *live, newest };
        let (read, known) = (format.read(&opened, self.at, findings), format.name());
        match read {
            Ok(piece) => match piece.next {
                Some(next) => {
                    self.at = next;
                    let step = self.told(&todo.name, false);
                    self.todo.push_front(todo);
                    step
                }
                None => self.done(todo, known),
            },
            Err(error) => self.lost(todo, &error),
        }
    }

    fn lost(&mut self, todo: Todo, error: &io::Error) -> Step {
        // A running node removes what it needs no more; what was in force is in another file then.
        match todo.live && error.kind() == io::ErrorKind::NotFound {
            true => self.gone = true,
            false => self.unread.push((todo.name.clone(), error.to_string())),
        }
        self.done(todo, "unread")
    }

    fn done(&mut self, todo: Todo, format: &'static str) -> Step {
        self.at = Cursor::default();
        self.done_bytes += todo.length;
        let tally = self.findings.tally(format);
        tally.files += 1;
        tally.bytes += todo.length;
        self.list_again();
        let more = !self.todo.is_empty() || !self.views.is_empty();
        if !more {
            self.findings.settle();
        }
        self.told(&todo.name, !more)
    }

    /// Rows of views, once all files were read.
    fn view_step(&mut self) -> Step {
        let Some((source, after)) = self.views.pop_front() else {
            self.findings.settle();
            return self.told("", true);
        };
        let folder = source.folder.clone();
        match view::rows(&source, after, &mut self.findings) {
            Ok(Some(last)) => self.views.push_front((source, Some(last))),
            Ok(None) => {}
            Err(why) => self.unread.push((folder.clone(), why)),
        }
        let finished = self.views.is_empty();
        if finished {
            self.findings.settle();
        }
        self.told(&folder, finished)
    }

    fn told(&self, file: &str, finished: bool) -> Step {
        let (done_bytes, total_bytes) = (self.done_bytes, self.total_bytes);
        Step { file: file.to_owned(), done_bytes, total_bytes, finished }
    }
}
