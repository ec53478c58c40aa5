//! Which description a text is, its members say: `Server`, `Users`, `User`, `HostKeys`, `HostKey`,
//! `Role`, or those of a Terraform state. One file may hold several texts, one after the other.

use serde_json::{Map, Value};

use super::aws;
use super::described::Descriptions;
use super::input::{InputError, Node, kind};
use super::terraform;
use crate::limits;

impl Descriptions {
    /// Takes in what one file says.
    ///
    /// # Errors
    /// It is no JSON, no description that is known, or a member is not as it should be.
    pub fn read(&mut self, file: &str, text: &str) -> Result<(), InputError> {
        let mut found = false;
        // Some shells write a mark at the beginning.
        let text = text.trim_start_matches('\u{feff}');
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        for value in values {
            let value = value.map_err(|error| InputError {
                file: file.to_owned(),
                place: format!("line {}", error.line()),
                why: format!("not JSON (column {})", error.column()),
            })?;
            found = true;
            let Value::Object(members) = &value else {
                return Err(unknown(file, &format!("found {}", kind(&value))));
            };
            self.take(file, members)?;
        }
        if !found {
            return Err(unknown(file, "the file is empty"));
        }
        let counted = [self.users.len(), self.listed.len(), self.host_keys.len()];
        if counted.iter().any(|count| *count > limits::MOVED_USERS_MAX) {
            let most = limits::MOVED_USERS_MAX;
            return Err(unknown(file, &format!("more than {most} users")));
        }
        Ok(())
    }

    fn take(&mut self, file: &str, members: &Map<String, Value>) -> Result<(), InputError> {
        let root = Node::root(file, members);
        if root.has("resources") && root.has("version") {
            return terraform::take(self, &root);
        }
        if aws::take(self, &root)? {
            return Ok(());
        }
        let names: Vec<_> = root.names().take(5).collect();
        let found = format!("found members: {}", names.join(", "));
        Err(unknown(file, &found))
    }
}

fn unknown(file: &str, found: &str) -> InputError {
    InputError {
        file: file.to_owned(),
        place: "top level".to_owned(),
        why: format!(
            "not a known description: {found}; expected what aws transfer describe-server, \
             list-users, describe-user, list-host-keys, describe-host-key or aws iam get-role \
             print, or a Terraform state of version 4"
        ),
    }
}
