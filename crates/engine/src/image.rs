//! Another image for a workload, by a commit. In: an Application at a commit,
//! an object of it, its containers with their images. Out: the changes of files
//! that bring them in, and where they are; or where an image comes from, if
//! that cannot be changed there.

use std::collections::BTreeMap;

use gitops_core::desired::{DesiredObject, DesiredSet};
use gitops_core::image::{Container, Image, containers};
use gitops_core::object::ObjectKey;
use gitops_source::Change;
use gitops_source::image::{Files, PlaceError, Wanted, set};

use crate::desired::{Environment, blocking, renders};
use crate::error::EngineError;
use crate::load::Loaded;
use crate::restore;

/// Why no commit is made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{object} has no container {container:?}")]
    NoContainer { object: ObjectKey, container: String, known: Vec<String> },
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What a commit would change.
#[derive(Debug)]
pub struct Changed {
    pub changes: Vec<Change>,
    /// As `file: field`, in the order of the containers.
    pub places: Vec<String>,
}

/// The containers that are meant by their names, each with the image it gets.
///
/// # Errors
/// When the object has no container of a name.
pub fn chosen(
    object: &DesiredObject,
    images: &BTreeMap<String, Image>,
) -> Result<Vec<(Container, Image)>, ImageError> {
    let known = containers(&object.value);
    let mut chosen = Vec::new();
    for (name, image) in images {
        let container = known.iter().find(|container| container.name == *name);
        let container = container.ok_or_else(|| ImageError::NoContainer {
            object: object.key.clone(),
            container: name.clone(),
            known: known.iter().map(|container| container.name.clone()).collect(),
        })?;
        chosen.push((container.clone(), image.clone()));
    }
    Ok(chosen)
}

/// What brings the images in. Those that are there already change nothing.
///
/// # Errors
/// When a source cannot be read, or an image comes from where no commit of ours
/// goes.
pub async fn change(
    loaded: &Loaded,
    environment: &Environment,
    revision: &str,
    object: &DesiredObject,
    chosen: Vec<(Container, Image)>,
) -> Result<Changed, ImageError> {
    let (loaded, environment, revision) = (loaded.clone(), environment.clone(), revision.to_owned());
    let object = object.clone();
    blocking(move || Ok(find(&loaded, &environment, &revision, &object, &chosen))).await?
}

fn find(
    loaded: &Loaded,
    environment: &Environment,
    revision: &str,
    object: &DesiredObject,
    chosen: &[(Container, Image)],
) -> Result<Changed, ImageError> {
    let places = loaded.sources.iter().filter(|place| !place.source.is_reference());
    let mut failed = None;
    for (place, render) in places.zip(renders(loaded, environment, revision)?) {
        if !restore::moves(loaded, place) {
            continue;
        }
        let mut files = Files::new(render.snapshot.clone());
        let done: Result<Vec<String>, PlaceError> = chosen
            .iter()
            .filter(|(container, image)| container.image != image.to_string())
            .map(|(container, image)| {
                let wanted = Wanted {
                    kind: &object.key.kind,
                    name: &object.key.name,
                    file: &object.origin.file,
                    container,
                    image,
                };
                set(&mut files, &render.request, &wanted)
            })
            .collect();
        match done {
            Ok(places) => return Ok(Changed { changes: files.changes(), places }),
            // The object may come from another source.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let none = || EngineError::Internal(format!("Application {} has no source in Git", loaded.application));
    Err(failed.map_or_else(|| none().into(), ImageError::from))
}

/// A container that has another image than it was to get.
pub fn differs<'c>(
    set: &DesiredSet,
    object: &ObjectKey,
    chosen: &'c [(Container, Image)],
) -> Option<(&'c str, String)> {
    let now = set.objects.get(object).map(|object| containers(&object.value)).unwrap_or_default();
    chosen.iter().find_map(|(container, image)| {
        let found = now.iter().find(|found| found.name == container.name);
        let found = found.map(|found| found.image.clone()).unwrap_or_default();
        (found != image.to_string()).then_some((container.name.as_str(), found))
    })
}
