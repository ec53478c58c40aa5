//! What a client asks of a file at OPEN (draft-02 §6.3).

/// `pflags`, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the draft has six independent flags"
)]
pub struct OpenMode {
    pub read: bool,
    pub write: bool,
    pub append: bool,
    pub create: bool,
    pub truncate: bool,
    pub exclusive: bool,
}

impl OpenMode {
    pub const READ: u32 = 0x01;
    pub const WRITE: u32 = 0x02;
    pub const APPEND: u32 = 0x04;
    pub const CREATE: u32 = 0x08;
    pub const TRUNCATE: u32 = 0x10;
    pub const EXCLUSIVE: u32 = 0x20;

    /// Says whether a new file is put there, whatever was there before.
    #[must_use]
    pub const fn puts_new(self) -> bool {
        self.create && (self.truncate || self.exclusive)
    }

    /// Understands the flags as OpenSSH's server does: unknown ones are ignored, creating,
    /// truncating and appending need WRITE to have an effect, EXCL needs CREAT. `None`: neither
    /// reading nor writing is asked.
    #[must_use]
    pub const fn from_pflags(pflags: u32) -> Option<Self> {
        let read = pflags & Self::READ != 0;
        // APPEND alone is an intention to write: several clients leave WRITE out.
        let write = pflags & (Self::WRITE | Self::APPEND) != 0;
        if !read && !write {
            return None;
        }
        let create = write && pflags & Self::CREATE != 0;
        Some(Self {
            read,
            write,
            append: pflags & Self::APPEND != 0,
            create,
            truncate: write && pflags & Self::TRUNCATE != 0,
            exclusive: create && pflags & Self::EXCLUSIVE != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(mode: OpenMode) -> String {
        let all = [
            (mode.append, "APPEND"),
            (mode.create, "CREATE"),
            (mode.exclusive, "EXCLUSIVE"),
            (mode.read, "READ"),
            (mode.truncate, "TRUNCATE"),
            (mode.write, "WRITE"),
        ];
        let set = all.iter().filter(|(on, _)| *on);
        set.map(|(_, word)| *word).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn flags_mean_what_they_mean_to_openssh() {
        let words = |pflags| OpenMode::from_pflags(pflags).map(words);
        assert_eq!(words(0), None);
        assert_eq!(words(0x01).as_deref(), Some("READ"));
        assert_eq!(words(0x1a).as_deref(), Some("CREATE|TRUNCATE|WRITE"));
        assert_eq!(words(0x18), None);
        assert_eq!(words(0x22).as_deref(), Some("WRITE"));
        assert_eq!(words(0x04).as_deref(), Some("APPEND|WRITE"));
        assert_eq!(words(0xffff_ffc1).as_deref(), Some("READ"));
    }
}
