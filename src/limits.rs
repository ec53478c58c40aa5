//! Every bound of the gateway, with its unit in its name.
//!
//! Constants are facts of a protocol or of our own design; [`Limits`] holds what an operator may
//! set (and what tests set to tens of milliseconds).

use std::time::Duration;

// ---- S3 ----

/// A connection to S3 or STS that nobody uses ends after so long; AWS itself ends them soon after.
pub const S3_CONNECTION_IDLE: Duration = Duration::from_secs(8);
/// A change or a part is sent over no connection that was idle for longer than this.
pub const S3_CONNECTION_RECENT: Duration = Duration::from_secs(2);
/// A read that has no answer after so long is sent again over another connection, if its own had
/// been used before.
pub const S3_SILENCE_MAX: Duration = Duration::from_secs(3);
/// Requests to one endpoint that are sent again at one time since their connection seems dead.
pub const S3_SENT_TWICE_MAX: usize = 64;
/// Connections to one endpoint that are remembered as having answered.
pub const S3_CONNECTIONS_KNOWN_MAX: usize = 4_096;
/// The first pause before a call is tried again, at its longest; each next one is twice as long.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// The longest such pause of what is under way.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The longest such pause of a look.
pub const LOOK_BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How much of a `Retry-After` is kept to.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// S3's bound on a key.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Calls of one directory that is a store under way at once, each on a thread.
pub const DIRECTORY_CALLS_MAX: usize = 16;
/// Of all such directories together: a quarter of the threads that may block.
pub const ALL_DIRECTORIES_CALLS_MAX: usize = 128;
/// Uploads in parts that are under way in such directories: each holds a file open.
pub const DIRECTORY_UPLOADS_MAX: usize = 4_096;
/// Unfinished files in such a directory that nobody works on are removed when they are this old.
pub const UNFINISHED_FILES_KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How often they are looked for, while files are written.
pub const UNFINISHED_SWEPT_EVERY: Duration = Duration::from_secs(3_600);
/// Stores beside `[storage]`.
pub const NAMED_STORES_MAX: usize = 100;
/// Room for access-point aliases; AWS bucket names have at most 63.
pub const BUCKET_BYTES_MAX: usize = 255;
/// Buckets in another region than the configured one that are remembered.
pub const BUCKET_REGIONS_MAX: usize = 1_000;
/// Longest name of a region that is believed in.
pub const REGION_BYTES_MAX: usize = 32;
/// S3's smallest part, except for the last one.
pub const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
/// S3's largest part.
pub const PART_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// S3's bound on the parts of one upload.
pub const PARTS_MAX: u32 = 10_000;
/// AWS's bound on one object made of parts, 48.8 TiB: so many of the largest.
pub const OBJECT_BYTES_MAX: u64 = 10_000 * PART_BYTES_MAX;
/// The same of other stores.
pub const OBJECT_BYTES_MAX_ELSEWHERE: u64 = 5 * 1024 * 1024 * 1024 * 1024;
/// S3's bound on one `CopyObject`.
pub const COPY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// `UploadPartCopy` calls of the process under way at once; while others wait a user has a third.
pub const RANGE_COPIES_MAX: u64 = 48;
/// The same of one object.
pub const RANGE_COPIES_PER_OBJECT_MAX: usize = 16;
/// What is read and written at once of an object that goes from one store to another, if it is not
/// larger than so many make.
pub const CARRIED_PART_BYTES: u64 = 8 * 1024 * 1024;
/// Parts of one such object under way at once.
pub const CARRIED_PARTS_PER_OBJECT_MAX: usize = 2;
/// What one part of such a copy takes until its object is complete.
pub const COPIED_PART_BYTES: u64 = 1_024;
/// S3's bound on one page of a listing.
pub const LIST_PAGE_MAX: u16 = 1_000;
/// Pages of one directory that are asked for after guessed keys, at one time.
pub const LIST_GUESSES_MAX: usize = 6;
/// Buckets that one answer may have: stores that know of no pages send all at once. Their names
/// fit into the memory of a page of keys.
pub const BUCKETS_PER_ANSWER_MAX: usize = 8_000;
/// How long a session shows the same buckets without asking again.
pub const BUCKETS_KNOWN_FOR: Duration = Duration::from_secs(10);
/// Listed files that one user's sessions ask about at once, where listings show stored times.
pub const LISTED_HEADS_PER_USER_MAX: usize = 16;
/// Stored times of listed files that the process remembers, of about 40 bytes each.
pub const LISTED_TIMES_MAX: usize = 65_536;
/// Names that OPENDIR asks for, and a READDIR that waited for memory.
pub const LIST_FIRST_PAGE_MAX: u16 = 100;

// ---- SFTP ----

/// Longest SFTP packet, without its length word: OpenSSH's `SFTP_MAX_MSG_LENGTH`.
pub const PACKET_BYTES_MAX: usize = 256 * 1024;
/// Longest READ that is answered in full: a packet less the room for its header, as OpenSSH
/// advertises it.
pub const READ_BYTES_MAX: u32 = 255 * 1024;
/// Longest WRITE that is advertised; longer ones are taken as long as they fit the packet.
pub const WRITE_BYTES_MAX: u32 = 255 * 1024;
/// Longest path on the wire: the key bound, plus room for the mapping's entry and `..`.
pub const PATH_BYTES_MAX: usize = 4_096;
/// Names in one READDIR answer, also bounded by [`NAME_REPLY_BYTES_MAX`].
pub const NAMES_PER_REPLY_MAX: usize = 256;
/// Bytes of one READDIR answer.
pub const NAME_REPLY_BYTES_MAX: usize = 64 * 1024;
/// Longest name that a listing shows: longer keys cannot be opened by any client.
pub const LISTED_NAME_BYTES_MAX: usize = KEY_BYTES_MAX;

// ---- commands ----

/// Longest command line.
pub const COMMAND_BYTES_MAX: usize = 16 * 1024;
/// Longest line of the `scp` protocol: a name of 1,024 bytes, and room.
pub const SCP_LINE_BYTES_MAX: usize = 4 * 1024;
/// What a client would go on to send of a file that failed, and which is taken and thrown away;
/// where more is left the command ends.
pub const SCP_SKIPPED_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Directories inside each other that `scp -r` sends; each has a handle open.
pub const SCP_DEPTH_MAX: usize = 128;
/// Paths that the wildcards of one command stand for.
pub const EXPANDED_PATHS_MAX: usize = 10_000;
/// READs of one command under way at once. Together with their length they hold what an SFTP
/// session keeps of a file for a client that does not read ([`REPLY_BYTES_QUEUED_MAX`]).
pub const EXEC_READS_AT_ONCE: usize = 2;
pub const EXEC_READ_BYTES: u32 = 128 * 1024;
/// What a client sends to a command that does not take it: from there on the connection waits. It is
/// counted with the channel's window.
pub const EXEC_INPUT_BYTES_MAX: usize = 1024 * 1024;
/// Words of one command line.
pub const COMMAND_WORDS_MAX: usize = 1_000;
/// Longest command line, with what it takes in memory, that is not on the account.
pub const COMMAND_BYTES_KEPT: usize = 4 * 1024;
/// Letters and members of classes in one component of a path with wildcards.
pub const WILDCARD_PARTS_MAX: usize = 256;
/// A body of S3 of which nothing comes for so long is given up.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Memory for what is on its way of a file whose checksum is computed.
pub const CHECK_MEMORY_BYTES: u64 = 256 * 1024;
/// What is summed up of what a client sends.
pub const SUM_INPUT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// WRITEs of one command under way at once, each what one channel packet brought.
pub const EXEC_WRITES_AT_ONCE: usize = 64;

// ---- SSH ----

/// Largest chunk in one `CHANNEL_DATA`.
pub const CHANNEL_CHUNK_BYTES_MAX: usize = 32 * 1024;
/// The same while the account lends the connection nothing.
pub const CHANNEL_CHUNK_BYTES_SMALL: usize = 8 * 1024;
/// Bytes read from a socket at once.
pub const SOCKET_READ_BYTES_MAX: usize = 64 * 1024;
/// The same while the account lends the connection nothing, and before login.
pub const SOCKET_READ_BYTES_SMALL: usize = 16 * 1024;
/// Output that the kernel keeps beyond what is under way to the client.
pub const SOCKET_UNSENT_BYTES_MAX: u32 = 256 * 1024;
/// What a connection that moves bytes is lent for larger reads, messages and writes.
pub const CONNECTION_LOAN_BYTES: u64 = 128 * 1024;
/// After so long without bytes it is given back.
pub const CONNECTION_LOAN_IDLE: Duration = Duration::from_secs(1);
/// Messages that wait for a connection's sessions, always.
pub const CONNECTION_QUEUE_BYTES_KEPT: u64 = 64 * 1024;
/// What is taken of the account at least, for more of them.
pub const CONNECTION_QUEUE_STEP_BYTES: u64 = 128 * 1024;
/// Messages of all connections for which the account has nothing, but behind which the client's
/// word may be that its output waits for.
pub const STUCK_QUEUE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// What a message costs that waits, beside its bytes.
pub const MESSAGE_COST_BYTES: u64 = 256;
/// Smallest maximum packet that a client may announce for a channel.
pub const CHANNEL_PACKET_BYTES_MIN: usize = 1_024;
/// What all channels of a connection may have under way together, where the account has twice as
/// much beside what others may have: OpenSSH's client keeps 16 MiB, others more. More where each channel could not have its
/// first window.
pub const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// The same where the account has little: 2 MiB for one channel and what is kept back for more.
pub const CONNECTION_WINDOW_BYTES_MIN: u32 = 4 * 1024 * 1024;
/// The receive window that a channel begins with.
pub const CHANNEL_WINDOW_BYTES: u32 = 128 * 1024;
/// The receive window that a channel has soon, whatever its line: OpenSSH's. A larger one makes
/// OpenSSH's client slower where the line is short.
pub const CHANNEL_WINDOW_BYTES_EASY: u32 = 2 * 1024 * 1024;
/// The same where a connection may have more channels than that window lasts for.
pub const CHANNEL_WINDOW_BYTES_MIN: u32 = 32 * 1024;
/// Smallest RSA key that may log in, in bits.
pub const RSA_BITS_MIN: u32 = 2_048;
/// Largest RSA host key, in bits: the bound of the cryptography.
pub const RSA_BITS_MAX: u32 = 8_192;
/// Longest banner, as AWS bounds it.
pub const BANNER_BYTES_MAX: usize = 4_096;

// ---- identity ----

/// AWS's bound on a password.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// Longest token that a `token` provider takes for a password.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Longest set of keys that tokens are verified with.
pub const JWKS_BYTES_MAX: u64 = 256 * 1024;
/// A login waits so long for new keys while the old ones still do.
pub const KEYS_WAIT: Duration = Duration::from_secs(1);
/// Time to find credentials in the AWS chain.
pub const AWS_CHAIN_WAIT: Duration = Duration::from_secs(5);
/// Keys of such a set.
pub const JWKS_KEYS_MAX: usize = 100;
/// AWS's bound on a user name.
pub const USER_NAME_BYTES_MAX: usize = 100;
/// AWS's bound on the mappings of one user.
pub const MAPPINGS_BYTES_MAX: usize = 2_100_000;
/// AWS's hard bound on the number of mappings.
pub const MAPPINGS_MAX: usize = 50_000;
/// AWS's bound on one entry or target, in characters.
pub const MAPPING_TEXT_MAX: usize = 1_024;
/// STS's bound on a session policy, in characters.
pub const POLICY_CHARS_MAX: usize = 2_048;
/// IAM's bound on the ARN of a role, in characters.
pub const ROLE_CHARS_MAX: usize = 2_048;
/// STS's bound on a source identity, in characters.
pub const SOURCE_IDENTITY_CHARS_MAX: usize = 64;
/// STS's bound on the name of a role session, in characters.
pub const ROLE_SESSION_NAME_CHARS_MAX: usize = 64;
/// STS's bound on the tags of a session.
pub const SESSION_TAGS_MAX: usize = 50;
/// STS's bound on the key of a session tag, in characters.
pub const SESSION_TAG_KEY_CHARS_MAX: usize = 128;
/// STS's bound on the value of a session tag, in characters.
pub const SESSION_TAG_VALUE_CHARS_MAX: usize = 256;
/// Longest answer that is read: the mappings, doubled by JSON escapes, and the rest.
pub const ANSWER_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Longest head of an HTTP answer, where we read it ourselves; API Gateway sends up to 10 KiB.
pub const ANSWER_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Headers of such an answer.
pub const ANSWER_HEADERS_MAX: usize = 100;
/// Longest line between two chunks of such an answer.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Connections to one provider that are kept for the next question.
pub const IDLE_CONNECTIONS_MAX: usize = 8;
/// Nesting that a JSON answer may have.
pub const ANSWER_DEPTH_MAX: usize = 32;
/// Keys that one answer may list.
pub const PUBLIC_KEYS_MAX: usize = 1_000;
/// AWS's bound on the entries of a service-managed user.
pub const SERVICE_MANAGED_MAPPINGS_MAX: usize = 2_000;
/// AWS's bound on the keys of a service-managed user.
pub const SSH_KEYS_PER_USER_MAX: usize = 50;
/// AWS's bound on the line of such a key, in characters.
pub const SSH_KEY_BODY_CHARS_MAX: usize = 2_048;
/// AWS's bound on the tags of a service-managed user.
pub const TAGS_MAX: usize = 50;
/// AWS's bound on the key of such a tag, in characters.
pub const TAG_KEY_CHARS_MAX: usize = 128;
/// AWS's bound on the value of such a tag, in characters.
pub const TAG_VALUE_CHARS_MAX: usize = 256;
/// AWS's shortest ARN of a role, in characters.
pub const ROLE_CHARS_MIN: usize = 20;
/// Largest document of a service-managed user: its mappings and keys, and the rest.
pub const USER_DOCUMENT_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Memory for answers to look-ups of service-managed users.
pub const USERS_SEEN_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What such an answer takes beside its texts.
pub const USER_SEEN_BYTES: usize = 1_024;
/// Documents of users that listings read at once, whoever asks.
pub const USERS_READ_AT_ONCE: usize = 8;
/// Users of another server that one command moves.
pub const MOVED_USERS_MAX: usize = 200_000;
/// Largest description that such a command reads.
pub const DESCRIPTION_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Descriptions, and bytes of all of them together.
pub const DESCRIPTIONS_MAX: usize = 300_000;
pub const DESCRIPTIONS_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Longest line of a log that is rehearsed: CloudWatch's are shorter.
pub const LOG_LINE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Users that are counted for a description of their server.
pub const USERS_COUNTED_MAX: usize = 10_000;
/// How often a change is applied to what others left meanwhile, before it is refused.
pub const USER_CHANGE_TRIES: u32 = 20;
/// How long the store of users, once it did not answer, is not asked about users that are known.
pub const USERS_AWAY_FOR: Duration = Duration::from_secs(2);
/// How often a small object of the gateway's own is put, while the store does not do it.
pub const DOCUMENT_PUT_TRIES: u32 = 4;
/// The pause between two of these.
pub const DOCUMENT_PUT_PAUSE: Duration = Duration::from_millis(200);
/// Longest public key, base64.
pub const PUBLIC_KEY_BYTES_MAX: usize = 16 * 1024;

/// Users at a source, and sources, whose failed logins are remembered.
pub const THROTTLE_ENTRIES_MAX: usize = 20_000;
/// A connection that has not logged in keeps its place for so long against others of its network.
pub const PLACE_KEPT_AT_LEAST: Duration = Duration::from_millis(250);
/// Users who logged in lately and are remembered for it.
pub const KNOWN_USERS_MAX: usize = 20_000;
/// Sources that one of them is remembered with.
pub const KNOWN_SOURCES_PER_USER_MAX: usize = 16;
/// Names whose keys were looked up, of all sources together.
pub const LOOKED_UP_NAMES_MAX: usize = 20_000;
/// Fingerprints in one line about refused keys.
pub const FINGERPRINTS_LOGGED_MAX: usize = 20;
/// The longest that the answer to a failed login is held back.
pub const REFUSAL_DELAY_MAX: Duration = Duration::from_secs(5);
/// A lock-out while every login comes from one address, which may be a balancer's.
pub const LOCKOUT_BEHIND_ONE_SOURCE: Duration = Duration::from_secs(30);
/// After so long without another source there is one source only.
pub const ONE_SOURCE_AFTER: Duration = Duration::from_secs(3_600);
/// Users, networks and providers that the operator keeps out at one time.
pub const BLOCKS_MAX: usize = 1_000;
/// Revocations that are remembered against logins that began before them.
pub const REVOCATIONS_REMEMBERED_MAX: usize = 1_000;

/// What an operator may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    // connections
    pub connections_max: usize,
    pub unauthenticated_connections_max: usize,
    pub connections_per_source_max: usize,
    /// 0 = a tenth of all; see [`Limits::connections_of_user`].
    pub connections_per_user_max: usize,
    pub channels_per_connection_max: usize,
    /// Channels ever opened on one connection (a closed one is not forgotten by the SSH layer).
    pub channel_opens_per_connection_max: usize,
    // a connection's times
    /// From accept until a key exchange is asked for.
    pub hello_timeout: Duration,
    /// Time allowed to log in, from TCP accept.
    pub login_grace: Duration,
    /// Nothing asked and nothing in progress.
    pub idle_timeout: Duration,
    /// Output that the client does not take.
    pub stalled_output_timeout: Duration,
    /// Between keep-alives; not less than the login grace, or they would precede login.
    pub keepalive_interval: Duration,
    // login
    pub password_attempts_max: usize,
    pub key_offers_max: usize,
    /// A refused password is answered no sooner than this after it was asked.
    pub refusal_delay: Duration,
    // a session
    /// Sessions of one user, where the identity provider says nothing.
    pub sessions_per_user_max: usize,
    pub handles_per_session_max: usize,
    /// Storage calls of one session under way at once.
    pub storage_calls_per_session_max: usize,
    // memory of the whole process
    pub upload_memory_bytes_max: u64,
    pub download_memory_bytes_max: u64,
    /// Whatever of clients and stores has neither a slot nor read-ahead: see
    /// [`Budget::account`](crate::budget::Budget::account).
    pub session_memory_bytes_max: u64,
    /// First part size; grows so that 5 TiB fits into 10,000 parts.
    pub part_bytes: u64,
    /// The store's largest object: what `[storage]` comes to.
    pub object_bytes_max: u64,
    /// From this size on the store copies an object in ranges, side by side. Not for operators.
    pub range_copy_bytes_min: u64,
    /// How large such a range is, at least. Not for operators.
    pub range_bytes_min: u64,
    /// Parts of one file under way at once.
    pub parts_in_flight_per_upload_max: usize,
    /// What one open file keeps within reach of what was written to it, to be read and written
    /// again.
    pub edit_bytes_max: u64,
    /// The first part of an upload leaves last.
    pub keep_first_part: bool,
    /// Times that come when the object is there are kept by a copy.
    pub keep_times: bool,
    /// Modes and owners are kept, those that come when the object is there by a copy.
    pub keep_modes: bool,
    /// Read-ahead of one file.
    pub read_ahead_per_handle_bytes_max: u64,
    /// While others wait for memory, an upload whose client sends less per second fails.
    pub upload_rate_bytes_min: usize,
    /// Over what time that is looked at.
    pub upload_rate_window: Duration,
    /// What a reader has not asked for this long is let go, while others want to read.
    pub slot_idle_timeout: Duration,
    /// Where nobody gave memory of parts back for this long, uploads whose begun parts wait for
    /// each other fail.
    pub gate_timeout: Duration,
    /// From the first signal until what is left is cut.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connections_max: 2_000,
            unauthenticated_connections_max: 200,
            connections_per_source_max: 500,
            connections_per_user_max: 0,
            channels_per_connection_max: 10,
            channel_opens_per_connection_max: 1_000,
            hello_timeout: seconds(10),
            login_grace: seconds(60),
            idle_timeout: seconds(1_800),
            stalled_output_timeout: seconds(300),
            keepalive_interval: seconds(60),
            password_attempts_max: 6,
            key_offers_max: 20,
            refusal_delay: Duration::from_millis(200),
            sessions_per_user_max: 1_000,
            handles_per_session_max: 256,
            storage_calls_per_session_max: 64,
            upload_memory_bytes_max: 192 * 1024 * 1024,
            session_memory_bytes_max: 64 * 1024 * 1024,
            download_memory_bytes_max: 128 * 1024 * 1024,
            part_bytes: 8 * 1024 * 1024,
            object_bytes_max: OBJECT_BYTES_MAX,
            range_copy_bytes_min: 256 * 1024 * 1024,
            range_bytes_min: 64 * 1024 * 1024,
            parts_in_flight_per_upload_max: 4,
            edit_bytes_max: 16 * 1024 * 1024,
            keep_first_part: false,
            keep_times: false,
            keep_modes: false,
            read_ahead_per_handle_bytes_max: 16 * 1024 * 1024,
            slot_idle_timeout: seconds(30),
            upload_rate_bytes_min: 2 * 1024,
            upload_rate_window: seconds(60),
            gate_timeout: seconds(120),
            drain_timeout: seconds(30),
        }
    }
}

impl Limits {
    /// Returns how much memory the process may take: a limit that is set for it must not be less.
    #[must_use]
    pub fn process_bytes_max(&self) -> u64 {
        let connections = u64::try_from(self.connections_max).unwrap_or(u64::MAX);
        self.upload_memory_bytes_max
            .saturating_add(self.download_memory_bytes_max)
            .saturating_add(self.session_memory_bytes_max)
            .saturating_add(connections.saturating_mul(CONNECTION_BYTES + CONNECTION_KERNEL_BYTES))
            .saturating_add(PROCESS_BYTES)
    }

    /// Returns how many connections a user may have, with the bound on sessions of their answer.
    ///
    /// Two more than sessions: one that is about to end, and one that only looks.
    #[must_use]
    pub fn connections_of_user(&self, sessions: Option<u32>) -> usize {
        match (sessions, self.connections_per_user_max) {
            (Some(sessions), _) => usize::try_from(sessions)
                .unwrap_or(usize::MAX)
                .saturating_add(2),
            (None, 0) => (self.connections_max / 10).max(1),
            (None, most) => most,
        }
    }
}

/// How long a drain waits for what outlives its session, once all sessions have ended. The chart
/// allows 15 seconds after the drain timeout.
pub const DRAIN_REST_MAX: Duration = Duration::from_secs(10);

// ---- the operator's port ----

/// Longest body that the operator's port takes.
pub const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest body of a request of AWS's API: 2,000 mappings, and the rest.
pub const AWS_BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Such bodies beyond [`ADMIN_BODY_BYTES_MAX`] that are read and worked on at once.
pub const AWS_BODIES_LARGE_MAX: usize = 4;
/// Servers that AWS's tools may make in one process of `quickstart`: AWS's own quota.
pub const MADE_SERVERS_MAX: usize = 50;
/// Documents of users that are kept in memory, of all servers of the process.
pub const USERS_IN_MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How far the clock of a signed request may be from ours, as at AWS.
pub const SIGNATURE_AGE_MAX: Duration = Duration::from_secs(300);

// ---- the log ----

/// Longest value of one field of a line; a path of [`PATH_BYTES_MAX`] is never cut.
pub const LOG_FIELD_BYTES_MAX: usize = 4 * 1024;
/// A line that somebody can cause at will is written once in this time, or as often as its own
/// bound says.
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Lines that wait to be written, with what they cost beside their text.
pub const LOG_ROOM_BYTES_MAX: usize = 1024 * 1024;
/// Lines that are written at once.
pub const LOG_BATCH_BYTES: usize = 64 * 1024;
/// How often it is tried again where a line could not be written.
pub const LOG_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end of the process waits for its last lines.
pub const LOG_END_WAIT: Duration = Duration::from_secs(2);
/// Lines about what failed for one user, in one [`LOG_INTERVAL`].
pub const LOG_FAILURES_PER_USER_MAX: u32 = 100;
/// Lines about requests for something else than SFTP, in one [`LOG_INTERVAL`], from all users.
pub const LOG_REFUSED_MAX: u32 = 100;

// ---- files of the operator ----

/// The configuration, and each file that it names.
pub const CONFIG_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The file of the static provider's users.
pub const USERS_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Memory that one check of an argon2id hash may take, in KiB.
pub const ARGON2_KIB_MAX: u32 = 256 * 1024;
/// Passes that one check of an argon2id hash may take.
pub const ARGON2_PASSES_MAX: u32 = 64;
/// Cost of a bcrypt hash; each step doubles the time of a check, 16 is about four seconds.
pub const BCRYPT_COST_MAX: u32 = 16;

// ---- credentials of a session ----

/// Credentials are renewed at least so long before they end, if they live long enough.
pub const RENEWAL_LEAD: Duration = Duration::from_secs(600);
/// After a renewal that failed, or did not help, the next one waits so long.
pub const RENEWAL_PAUSE: Duration = Duration::from_secs(5);
/// The same where a refusal does not say whether the credentials are at fault.
pub const RENEWAL_GUESS_PAUSE: Duration = Duration::from_secs(60);

// ---- back-pressure ----

/// WRITEs of one session that wait for memory, from which on no more requests are taken.
pub const WRITES_PARKED_MAX: usize = 1_024;
/// What a session may hold of its client without asking the account of bytes: WRITEs without a
/// slot, names, requests that wait.
pub const SESSION_KEPT_BYTES: usize = 32 * 1024;
/// What a session may remember of names without asking the account of bytes.
pub const KNOWN_BYTES_KEPT: usize = 8 * 1024;
/// Wishes of one user that wait for memory of one kind in the line of all users; further ones wait
/// for a place in it.
pub const MEMORY_WAITERS_PER_USER_MAX: usize = 256;

// ---- what the process may take ----

/// What a connection with an SFTP session takes at most, beside what it has of the three pools.
pub const CONNECTION_BYTES: u64 = 128 * 1024;
/// What the kernel keeps for one whose client does not listen, as measured: part of
/// [`SOCKET_UNSENT_BYTES_MAX`], and what is under way.
pub const CONNECTION_KERNEL_BYTES: u64 = 160 * 1024;
/// What the process takes beside pools and connections: itself, its connections to S3, and
/// [`STUCK_QUEUE_BYTES_MAX`].
pub const PROCESS_BYTES: u64 = 64 * 1024 * 1024;

// ---- memory that is free ----

/// How often it is given back to the system. A buffer for parts is let go when nobody used it from
/// one time to the next.
pub const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(3);

// ---- reads ----

/// The first GET of a file opened for reading: its headers answer OPEN.
pub const OPENING_GET_BYTES: u64 = 256 * 1024;
/// The GET of a READ for which there is no read-ahead memory: not less than the longest READ.
pub const PATIENT_GET_BYTES: u64 = 256 * 1024;

// ---- writes ----

/// How large a part's slot is at first and then; a part that has more bytes has a whole one.
pub const SLOT_STEPS_BYTES: [u64; 2] = [256 * 1024, 1024 * 1024];
/// Separate written ranges that are kept track of in one part.
pub const EXTENTS_PER_PART_MAX: usize = 4_096;
/// Zeros that setting a file's size may add.
pub const ZERO_FILL_BYTES_MAX: u64 = 1024 * 1024 * 1024;

// ---- a session ----

/// Replies that a session may keep for a client that does not listen; beyond, they are on the
/// account of bytes, or wait.
pub const REPLY_BYTES_KEPT: usize = 32 * 1024;
/// Replies that wait for the client's window; beyond, no more data is made. It may be one READ
/// more: a client that does not read keeps it from the read-ahead of others.
pub const REPLY_BYTES_QUEUED_MAX: usize = 256 * 1024;
/// The same, from which on the connection's input pauses: more than data and names make.
pub const REPLY_BYTES_QUEUED_SOFT_MAX: usize = 4 * 1024 * 1024;
/// A CLOSE waits for so long for READs of the same handle that came before it.
pub const CLOSE_AFTER_READS_FOR: Duration = Duration::from_secs(30);
/// What a client had sent before it went is taken for so long, where memory for it is short.
pub const REST_TAKEN_FOR: Duration = Duration::from_secs(2);
/// An upload whose CLOSE came is finished for so long after its client has gone.
pub const CLOSE_KEPT_FOR: Duration = Duration::from_secs(60);
/// So many of them of one user at once.
pub const CLOSES_KEPT_PER_USER_MAX: usize = 4;
/// READs of one handle that are worked on at once; more of them wait in line.
pub const READS_PER_HANDLE_AT_ONCE: usize = 128;
/// Path requests that are ordered among each other; more of them wait in line.
pub const PATH_REQUESTS_AT_ONCE: usize = 64;
/// Requests without an answer, from which on no more are taken. A client that asks for
/// a whole file at once (32,768 READs for 1 GiB) stays below it.
pub const REQUESTS_WAITING_MAX: usize = 65_536;
/// Files below a directory that is renamed: each is a copy and a delete.
pub const RENAMED_OBJECTS_MAX: usize = 100_000;
/// Directories of which the process remembers a name that keeps them there.
pub const KEPT_DIRECTORIES_MAX: usize = 10_000;
/// Another program may have removed that name: it is believed in for so long.
pub const KEEPER_TRUSTED_FOR: Duration = Duration::from_secs(60);
/// Moves of directories, and of files that S3 copies in parts, of one user at once.
pub const MOVES_PER_USER_MAX: usize = 4;
/// Changes of names of one user at once, by all sessions and what outlives them. While the store
/// fails each is repeated every few seconds.
pub const CHANGES_PER_USER_MAX: usize = 256;
/// Memory for one page of such a directory's names, at their longest.
pub const MOVE_PAGE_BYTES: u64 = 1_280 * 1024;
/// Records of uploads that a process keeps at once, and takes up from others in one round.
pub const UPLOAD_RECORDS_MAX: usize = 1_000;
/// One of them; the longest key and path are a few KiB.
pub const UPLOAD_RECORD_BYTES_MAX: u64 = 32 * 1024;
/// An upload goes on without its record when that is not written by then.
pub const UPLOAD_RECORD_WRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// Records that are read, and uploads that are finished, at once.
pub const UPLOAD_RECORDS_READ_AT_ONCE: usize = 16;
pub const UPLOADS_RECOVERED_AT_ONCE: usize = 4;
/// Pages of the listing of records that one round looks at.
pub const RECORD_PAGES_MAX: usize = 10;
/// How long a process is believed to be there after it said so, and how often it says so.
pub const LEASE_FOR: Duration = Duration::from_secs(90);
pub const LEASE_RENEWED_EVERY: Duration = Duration::from_secs(30);
/// Each renewal waits no longer for an answer.
pub const LEASE_RENEWED_WITHIN: Duration = Duration::from_secs(10);
/// The end of the process waits no longer for it to be given up.
pub const LEASE_LEFT_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked for leases that ended; up to half of it more, at random.
pub const RECOVERED_EVERY: Duration = Duration::from_secs(60);
/// Requests on a file wait so long at most until what a killed process left of it is finished.
pub const RECOVERY_AWAITED_FOR: Duration = Duration::from_secs(60);
/// Requests on names wait so long at most until the first records were read.
pub const RECORDS_AWAITED_FOR: Duration = Duration::from_secs(10);
/// An upload that cannot be finished is given up when it is so old.
pub const UPLOADS_RECOVERED_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);
