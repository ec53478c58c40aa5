//! Which listener a command tries a login at.

use std::net::SocketAddr;

use clap::Args;

use super::Failure;
use crate::config::{Config, Listener};

/// Options that choose one.
#[derive(Debug, Clone, Args)]
pub(super) struct ChosenListener {
    /// Port that the client connects to, where there are several; by default the main
    /// one (`listen` at the top of the file). Without a main one it has to be given, or its name.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The same by its name in the configuration.
    #[arg(long, value_name = "NAME", conflicts_with = "listen")]
    listener: Option<String>,
}

impl ChosenListener {
    /// Returns the listener that is meant; `Err`: an address that none has.
    ///
    /// # Errors
    /// There is none of that name.
    pub(super) fn of<'c>(
        &self,
        config: &'c Config,
    ) -> Result<Result<&'c Listener, SocketAddr>, Failure> {
        let mut all = config.listeners.iter();
        let names = || {
            let names = config.listeners.iter().map(|listener| &*listener.name);
            names.collect::<Vec<_>>().join(", ")
        };
        if let Some(name) = &self.listener {
            let found = all.find(|listener| listener.name == *name);
            let unknown = || {
                let names = names();
                Failure::Usage(format!("--listener: no {name:?}; there are: {names}"))
            };
            return found.map(Ok).ok_or_else(unknown);
        }
        if let Some(wanted) = self.listen {
            let found = all.find(|listener| listener.listen == wanted);
            return Ok(found.ok_or(wanted));
        }
        match &*config.listeners {
            [] => Ok(Err(config.listen)),
            [only] => Ok(Ok(only)),
            // Any of the others would answer for itself alone.
            several => {
                let main = several.iter().find(|one| one.section.is_empty());
                let none = || {
                    let names = names();
                    Failure::Usage(format!(
                        "no listener is the main one: choose one with --listener: {names}"
                    ))
                };
                main.map(Ok).ok_or_else(none)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, section: &str, port: u16) -> Listener {
        let config = Config::default();
        Listener {
            name: name.to_owned(),
            section: section.to_owned(),
            listen: ([127, 0, 0, 1], port).into(),
            providers: Vec::new(),
            proxy: config.proxy,
            host_key_files: Vec::new(),
            host_key_next_files: Vec::new(),
            algorithms: config.ssh.algorithms,
            banner: None,
        }
    }

    fn chosen(options: &ChosenListener, listeners: &[Listener]) -> String {
        let mut config = Config::default();
        config.listeners.extend_from_slice(listeners);
        match options.of(&config) {
            Ok(Ok(listener)) => listener.name.clone(),
            Ok(Err(address)) => address.to_string(),
            Err(failure) => format!("{failure:?}"),
        }
    }

    #[test]
    fn without_a_main_listener_one_of_several_has_to_be_named() {
        let [main, x, y] = [
            listener("main", "", 1),
            listener("x", "listener.x", 2),
            listener("y", "listener.y", 3),
        ];
        let mut options = ChosenListener {
            listen: None,
            listener: None,
        };
        assert_eq!(chosen(&options, &[main, x.clone()]), "main");
        assert_eq!(chosen(&options, std::slice::from_ref(&x)), "x");
        let both = [x, y];
        let none = chosen(&options, &both);
        assert!(none.contains("choose one with --listener: x, y"), "{none}");
        options.listener = Some("y".to_owned());
        assert_eq!(chosen(&options, &both), "y");
        options.listener = Some("z".to_owned());
        let none = chosen(&options, &both);
        assert!(none.contains("there are: x, y"), "{none}");
        options.listener = None;
        options.listen = Some(([127, 0, 0, 1], 3).into());
        assert_eq!(chosen(&options, &both), "y");
        options.listen = Some(([127, 0, 0, 1], 4).into());
        assert_eq!(chosen(&options, &both), "127.0.0.1:4");
    }
}
