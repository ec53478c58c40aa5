//! Users that the service kept: whether the gateway keeps the same.

use super::super::described::{DescribedUser, Descriptions, Server};
use super::super::import::kept_as;
use super::super::report::{Finding, Topic, listed};
use super::{Configured, Gateway, KeptUsers};
use crate::config::{PathHomes, Roles};
use crate::idp::service_managed::{HomeDirectoryType, User};

/// Compares the users of one server.
pub(super) fn users(
    server: &Server,
    found: &Descriptions,
    configured: Option<&Configured>,
    gateway: &Gateway,
    out: &mut Vec<Finding>,
) {
    let id = &*server.id;
    undescribed(id, found, out);
    uncounted(server, found, out);
    let described: Vec<_> = found.users_of(id).collect();
    if let Some(KeptUsers::Read { others, .. }) = configured.map(|one| &one.users)
        && !others.is_empty()
    {
        let names = listed(others.iter().map(String::as_str));
        out.push(Finding::open(
            Topic::Users,
            format!("{id}: kept here, not described on the old server: {names}"),
            "delete them here (aws transfer delete-user --endpoint-url) if they were deleted on \
             AWS, or add their descriptions; then --accept users",
        ));
    }
    if described.is_empty() {
        return;
    }
    let mut groups = Groups::default();
    for (name, user) in &described {
        match kept_as(name, user) {
            Ok(wanted) => groups.compare(name, &wanted, configured),
            Err(why) => groups.unusable.push(format!("{name} ({why})")),
        }
        groups.look_at(name, user, gateway);
    }
    groups.report(id, configured, out);
}

/// A listing names users whose descriptions are missing.
fn undescribed(id: &str, found: &Descriptions, out: &mut Vec<Finding>) {
    let listing = found.listed.iter().filter(|((server, _), _)| server == id);
    let mut missing = Vec::new();
    for ((server, name), keys) in listing {
        match found.users.get(&(server.clone(), name.clone())) {
            None => missing.push(name.as_str()),
            Some(user) if i64::try_from(user.keys.len()).is_ok_and(|held| held < *keys) => {
                missing.push(name.as_str());
            }
            Some(_) => {}
        }
    }
    if !missing.is_empty() {
        let names = listed(missing.iter().copied());
        out.push(Finding::open(
            Topic::Users,
            format!("{id}: listed, and not described with all keys: {names}"),
            "add the output of aws transfer describe-user for each",
        ));
    }
}

/// A description of a server says how many users it keeps: nobody compared the others.
fn uncounted(server: &Server, found: &Descriptions, out: &mut Vec<Finding>) {
    let id = &*server.id;
    if !matches!(
        server.provider_type.as_deref(),
        None | Some("SERVICE_MANAGED")
    ) {
        return;
    }
    let described = found.users_of(id).count();
    let is_new = |(of, name): &&(String, String)| {
        of == id && !found.users.contains_key(&(of.clone(), name.clone()))
    };
    // A listing names those that are missing.
    let named = described.saturating_add(found.listed.keys().filter(is_new).count());
    let text = match server.user_count {
        Some(count) if i64::try_from(named).is_ok_and(|named| named < count) => {
            format!("{id}: it has {count} users, of whom {described} are described")
        }
        None if named == 0 => format!("{id}: it keeps its users itself, and none is described"),
        Some(_) | None => return,
    };
    out.push(Finding::open(
        Topic::Users,
        text,
        "add the output of aws transfer list-users, and of describe-user for each",
    ));
}

/// Users by what becomes of them.
#[derive(Debug, Default)]
struct Groups {
    same: usize,
    missing: Vec<String>,
    different: Vec<String>,
    unusable: Vec<String>,
    keyless: Vec<String>,
    confined: Vec<String>,
    with_policy: Vec<String>,
    on_efs: Vec<String>,
}

impl Groups {
    fn compare(&mut self, name: &str, wanted: &User, configured: Option<&Configured>) {
        let Some(KeptUsers::Read { users: kept, .. }) = configured.map(|one| &one.users) else {
            return;
        };
        match kept.get(name) {
            None => self.missing.push(name.to_owned()),
            Some(Err(why)) => self.different.push(format!("{name} ({why})")),
            Some(Ok(held)) => match difference(wanted, held) {
                None => self.same = self.same.saturating_add(1),
                Some(member) => self.different.push(format!("{name} ({member})")),
            },
        }
    }

    /// Looks for what of a user means something else here.
    fn look_at(&mut self, name: &str, user: &DescribedUser, gateway: &Gateway) {
        if user.keys.is_empty() {
            self.keyless.push(name.to_owned());
        }
        let is_path = user.home_type == HomeDirectoryType::Path;
        if is_path && gateway.path_homes == PathHomes::Confined {
            self.confined.push(name.to_owned());
        }
        if user.policy.is_some() && gateway.roles != Roles::Assume {
            self.with_policy.push(name.to_owned());
        }
        let homes = user.home.iter().map(String::as_str);
        let targets = user.mappings.iter().map(|row| &*row.target);
        let mut places = homes.filter(|_| is_path).chain(targets);
        let is_unserved = |place: &str| {
            let first = place.trim_start_matches('/').split('/').next();
            first.is_some_and(|name| {
                name.starts_with("fs-") && !gateway.fs_ids.iter().any(|id| id == name)
            })
        };
        if places.any(is_unserved) {
            self.on_efs.push(name.to_owned());
        }
    }

    fn report(&self, id: &str, configured: Option<&Configured>, out: &mut Vec<Finding>) {
        let names = |names: &[String]| listed(names.iter().map(String::as_str));
        if self.same > 0 {
            let text = format!("{id}: {} users are kept as described", self.same);
            out.push(Finding::ok(Topic::Users, text));
        }
        if let Some(KeptUsers::Elsewhere(place)) = configured.map(|one| &one.users) {
            out.push(Finding::open(
                Topic::Users,
                format!("{id}: the users in {place} were not compared"),
                "compare with aws transfer list-users --endpoint-url; then --accept users",
            ));
        }
        let open = [
            (&self.missing, "not kept by the gateway yet", IMPORT),
            (
                &self.different,
                "kept, and different",
                "portcullis migrate import --replace",
            ),
            (
                &self.unusable,
                "cannot be kept",
                "change the user on AWS first",
            ),
        ];
        for (group, what, change) in open {
            if !group.is_empty() {
                let text = format!("{id}: {what}: {}", names(group));
                out.push(Finding::open(Topic::Users, text, change));
            }
        }
        if !self.keyless.is_empty() {
            let text = format!(
                "{id}: without a key, nobody logs in: {}",
                names(&self.keyless)
            );
            out.push(Finding::note(Topic::Users, text));
        }
        let differences = [
            (&self.confined, 16, "see only their PATH home", ROLE_HOMES),
            (
                &self.with_policy,
                14,
                "have a session policy, which is refused",
                ASSUME,
            ),
            (
                &self.on_efs,
                17,
                "have targets on EFS",
                "serve it: [store.NAME] fs_ids",
            ),
        ];
        for (group, number, what, change) in differences {
            if !group.is_empty() {
                let text = format!("{id}: {what}: {}", names(group));
                let finding = Finding::open(Topic::Difference, text, change);
                out.push(finding.numbered(number));
            }
        }
    }
}

/// Returns the first member that differs; keys count by themselves, whatever their ids.
fn difference(wanted: &User, held: &User) -> Option<&'static str> {
    fn keys(user: &User) -> Vec<String> {
        let keys = user.ssh_public_keys.iter();
        let mut keys: Vec<_> = keys
            .map(|key| {
                let mut words = key.ssh_public_key_body.split_whitespace();
                words.by_ref().take(2).collect::<Vec<_>>().join(" ")
            })
            .collect();
        keys.sort();
        keys
    }
    let differs = [
        ("Role", wanted.role != held.role),
        ("Policy", wanted.policy != held.policy),
        (
            "HomeDirectoryType",
            wanted.home_directory_type != held.home_directory_type,
        ),
        (
            "HomeDirectory",
            wanted.home_directory != held.home_directory,
        ),
        (
            "HomeDirectoryMappings",
            wanted.home_directory_mappings != held.home_directory_mappings,
        ),
        ("SshPublicKeys", keys(wanted) != keys(held)),
    ];
    let mut differs = differs.into_iter().filter(|(_, differs)| *differs);
    differs.next().map(|(member, _)| member)
}

const IMPORT: &str = "portcullis migrate import";
const ROLE_HOMES: &str =
    "set path_homes = \"role\" with roles = \"assume\", or --accept difference-16";
const ASSUME: &str = "set identity.roles = \"assume\"";
