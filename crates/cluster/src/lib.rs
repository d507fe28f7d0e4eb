//! A Kubernetes API server: what it knows (discovery, OpenAPI), what is there
//! (list, get), and how it changes (apply, patch, delete). In: kubectl's
//! connection flags. Out: JSON objects, and errors that name the thing.

mod buffered;
mod client;
mod connect;
mod discovery;
mod disk;
mod error;
mod exec;
mod items;
mod lists;
mod live;
mod logs;
mod marked;
mod objects;
mod openapi;
mod permissions;
mod registered;
mod resource;
mod sealed;
mod transport;

pub use client::{Requests, requests};
pub use connect::{ConnectOptions, Endpoint};
pub use discovery::{Discovery, Kind};
pub use error::{ClusterError, ErrorKind, FieldConflict, UNDECLARED};
pub use lists::{Form, NAMESPACES};
pub use live::{Live, Marks};
pub use logs::LogOptions;
pub use objects::{Applied, ApplyOptions, DeleteOptions};
pub use permissions::Access;
pub use registered::{Connected, Registered, RegistrationError, is_registration};
pub use transport::Cluster;
