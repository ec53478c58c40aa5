//! What a session remembers of names for a while, so as not to ask S3 again.

use std::time::{Duration, Instant};

use crate::audit;
use crate::sftp::{Reply, Status};
use crate::vfs::VirtualPath;

use super::actor::Session;
use super::paths::{Act, PathRequest};

impl Session {
    pub(super) fn note_change(&mut self, request: &PathRequest, reply: &Reply) {
        if !matches!(reply, Reply::Status(status) if *status == Status::OK) {
            return;
        }
        let changed = [Some(&request.path), request.act.new_name()];
        let touches =
            |path: &VirtualPath| changed.iter().flatten().any(|name| name.is_related(path));
        self.lane.looked.retain(|(path, _)| !touches(path));
        match &request.act {
            Act::Rename { to, .. } => {
                self.forget(&request.path);
                if let Some(parent) = to.parent() {
                    self.know(parent);
                }
                audit::changed(request.operation, &request.path, Some(to));
            }
            Act::RmDir => {
                self.forget(&request.path);
                audit::changed(request.operation, &request.path, None);
            }
            Act::MkDir => {
                self.know(request.path.clone());
                audit::changed(request.operation, &request.path, None);
            }
            Act::Remove => {
                self.unlink_uploads(&request.path);
                audit::changed(request.operation, &request.path, None);
            }
            Act::Stat
            | Act::SetStat(_)
            | Act::StatVfs
            | Act::OpenDirectory
            | Act::Open { .. }
            | Act::Close(_) => {}
        }
    }

    /// Notes that a STAT found no directory.
    pub(super) fn note_look(&mut self, request: &PathRequest) {
        if matches!(request.act, Act::Stat) {
            if self.lane.looked.len() >= LOOKED_MAX {
                self.lane.looked.pop_front();
            }
            self.lane
                .looked
                .push_back((request.path.clone(), request.asked));
        }
    }

    /// Says whether a STAT found no directory there just now. A directory that came since stays
    /// reachable beside the file: S3 allows both.
    pub(super) fn looked_lately(&self, path: &VirtualPath) -> bool {
        let now = self.environment.clock.now();
        let fresh = |asked: Instant| now.saturating_duration_since(asked) < LOOKED_FOR;
        self.lane
            .looked
            .iter()
            .any(|(looked, asked)| looked == path && fresh(*asked))
    }

    pub(super) fn know(&mut self, directory: VirtualPath) {
        if self.lane.known.len() >= KNOWN_DIRECTORIES_MAX {
            self.lane.known.clear();
        }
        self.lane.known.insert(directory);
    }

    pub(super) fn forget(&mut self, directory: &VirtualPath) {
        let elsewhere = |known: &VirtualPath| known.below(directory).is_none();
        self.lane.known.retain(elsewhere);
    }
}

const KNOWN_DIRECTORIES_MAX: usize = 1_000;
const LOOKED_MAX: usize = 64;
const LOOKED_FOR: Duration = Duration::from_secs(2);
