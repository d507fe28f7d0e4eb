//! Another image, by a change of files. In: a commit's files, how they are
//! rendered, an object and one of its containers. Out: the files with another
//! image in its place, or where the image comes from if that is none of them.
//! Whether the render then says the new image is for the caller to see.

mod helm;
mod kustomize;
mod plain;

use std::collections::BTreeMap;

use gitops_core::image::{Container, Image, ImageError};

use crate::error::SourceError;
use crate::git::{Change, Snapshot};
use crate::render::{RenderRequest, SourceType, detect, normal};
use crate::yaml::edit::EditError;

/// A container of an object that gets another image.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Of the object.
    pub kind: &'a str,
    pub name: &'a str,
    /// The file that the object comes from, as its render told it.
    pub file: &'a str,
    pub container: &'a Container,
    pub image: &'a Image,
}

/// Why no file says the image.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("container {container} has the image {image} from {from}")]
    Elsewhere { container: String, image: String, from: String, hint: String },
    #[error("{file}: {error}")]
    Edit { file: String, error: EditError },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Files of one commit, some of them changed.
#[derive(Debug)]
pub struct Files {
    snapshot: Snapshot,
    changed: BTreeMap<String, String>,
}

impl Files {
    /// As the commit has them.
    pub fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, changed: BTreeMap::new() }
    }

    /// What has become of them.
    pub fn changes(self) -> Vec<Change> {
        let all = self.changed.into_iter();
        all.map(|(path, text)| Change::File { path, data: text.into_bytes() }).collect()
    }

    /// A file's text; none where there is no such file, or it is no text.
    fn text(&self, path: &str) -> Option<String> {
        if let Some(text) = self.changed.get(path) {
            return Some(text.clone());
        }
        String::from_utf8(self.snapshot.read(path).ok()?).ok()
    }

    fn put(&mut self, path: &str, text: &str) {
        self.changed.insert(path.to_owned(), text.to_owned());
    }
}

/// Puts the image where it is written; returns that place as `file: field`.
///
/// # Errors
/// When no file says the image, or not in a way that can be changed in place.
pub fn set(files: &mut Files, request: &RenderRequest, wanted: &Wanted<'_>) -> Result<String, PlaceError> {
    let old = Image::parse(&wanted.container.image)?;
    let request = &RenderRequest { path: normal(&request.path)?, ..request.clone() };
    match detect(&files.snapshot, request)? {
        SourceType::Auto | SourceType::Plain => plain::set(files, wanted),
        SourceType::Kustomize => kustomize::set(files, request, wanted, &old),
        SourceType::Helm => helm::set(files, request, wanted, &old),
        SourceType::Jsonnet => {
            Err(wanted.elsewhere(format!("Jsonnet, {}", request.path), "change it there, and commit"))
        }
    }
}

impl Wanted<'_> {
    fn elsewhere(&self, from: impl Into<String>, hint: impl Into<String>) -> PlaceError {
        PlaceError::Elsewhere {
            container: self.container.name.clone(),
            image: self.container.image.clone(),
            from: from.into(),
            hint: hint.into(),
        }
    }
}

fn edit(file: &str) -> impl Fn(EditError) -> PlaceError + '_ {
    move |error| PlaceError::Edit { file: file.to_owned(), error }
}
