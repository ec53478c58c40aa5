//! Status codes (draft-02 §7) and the fixed sentences that go with them.

/// `SSH_FX_*` of version 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum StatusCode {
    Ok = 0,
    Eof = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    NoConnection = 6,
    ConnectionLost = 7,
    OpUnsupported = 8,
}

impl StatusCode {
    /// Returns the word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Eof => "eof",
            Self::NoSuchFile => "no-such-file",
            Self::PermissionDenied => "permission-denied",
            Self::Failure => "failure",
            Self::BadMessage => "bad-message",
            Self::NoConnection => "no-connection",
            Self::ConnectionLost => "connection-lost",
            Self::OpUnsupported => "op-unsupported",
        }
    }

    /// Returns the number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// A code and a sentence that is safe to show to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status {
    pub code: StatusCode,
    pub sentence: &'static str,
}

impl Status {
    pub const OK: Self = Self::new(StatusCode::Ok, "Success");
    pub const EOF: Self = Self::new(StatusCode::Eof, "End of file");
    pub const NO_SUCH_FILE: Self = Self::new(StatusCode::NoSuchFile, "No such file");
    pub const PERMISSION_DENIED: Self =
        Self::new(StatusCode::PermissionDenied, "Permission denied");
    pub const FAILURE: Self = Self::new(StatusCode::Failure, "Failure");
    pub const BAD_MESSAGE: Self = Self::new(StatusCode::BadMessage, "Bad message");
    pub const OP_UNSUPPORTED: Self = Self::new(StatusCode::OpUnsupported, "Operation unsupported");

    #[must_use]
    pub const fn new(code: StatusCode, sentence: &'static str) -> Self {
        Self { code, sentence }
    }

    #[must_use]
    pub const fn failure(sentence: &'static str) -> Self {
        Self::new(StatusCode::Failure, sentence)
    }

    #[must_use]
    pub const fn unsupported(sentence: &'static str) -> Self {
        Self::new(StatusCode::OpUnsupported, sentence)
    }

    #[must_use]
    pub const fn denied(sentence: &'static str) -> Self {
        Self::new(StatusCode::PermissionDenied, sentence)
    }
}
