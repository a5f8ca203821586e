//! Files that come in parts: on disk until they are whole, as far as was recorded.

use crate::files;
use crate::limits::FILE_CHUNK;
use crate::storage::PartnerStore;
use crate::store::{MediaStore, StorageReference, StoreError};
use core::sync::atomic::Ordering;
use std::collections::HashSet;
use std::io;
use tokio::fs;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _, BufWriter};

impl MediaStore {
    /// Takes up the files that were coming in parts when the server ended: sets their room aside, and removes what nobody
    /// knows. To be called once, before the router serves, with the store that the router's quota has.
    ///
    /// # Errors
    /// As the file system or the store says.
    pub async fn take_up_uploads(&self, known: &dyn PartnerStore) -> io::Result<()> {
        let uploads = known.open_uploads().await.map_err(io::Error::other)?;
        let mut names = HashSet::new();
        for (reference, upload) in uploads {
            let Ok(name) = reference.parse() else { continue };
            // A crash may have come between the last byte and its record: then the file is whole, and counted.
            if upload.offset == upload.len && self.files.has(&name).await? {
                known.keep_media(&reference).await.map_err(io::Error::other)?;
                continue;
            }
            self.used.fetch_add(upload.len, Ordering::Relaxed);
            names.insert(reference);
        }
        let mut left = fs::read_dir(&self.parts).await?;
        while let Some(entry) = left.next_entry().await? {
            if !entry.file_name().to_str().is_some_and(|name| names.contains(name)) {
                fs::remove_file(entry.path()).await?;
            }
        }
        Ok(())
    }

    /// Sets room aside for a file that comes in parts.
    pub(crate) fn set_aside(&self, len: u64) -> Result<(), StoreError> {
        if len > self.limits.max_len {
            return Err(StoreError::TooLarge);
        }
        let fits = |used: u64| used.checked_add(len).filter(|sum| *sum <= self.limits.max_total);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| StoreError::Full)?;
        Ok(())
    }

    /// Opens the file to go on after its first `offset` bytes; whatever came later was never told to anyone.
    pub(crate) async fn part(&self, reference: &StorageReference, offset: u64) -> Result<Part, StoreError> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(self.parts.join(reference.as_str())).await?;
        if file.metadata().await?.len() < offset {
            return Err(StoreError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        file.set_len(offset).await?;
        file.seek(io::SeekFrom::Start(offset)).await?;
        file.set_max_buf_size(FILE_CHUNK);
        if offset == 0 {
            fs::File::open(&self.parts).await?.sync_all().await?; // its name
        }
        Ok(Part(BufWriter::with_capacity(FILE_CHUNK, file)))
    }

    /// Gives a whole file, durable already, the name it is fetched by.
    pub(crate) async fn finish_part(&self, reference: &StorageReference) -> Result<(), StoreError> {
        Ok(self.files.take(&self.parts.join(reference.as_str()), reference).await?)
    }

    /// Whether the file has the name it is fetched by.
    pub(crate) async fn has(&self, reference: &StorageReference) -> Result<bool, StoreError> {
        Ok(self.files.has(reference).await?)
    }

    /// Removes a file in parts that was to be `len` bytes, and gives back the room set aside for it.
    pub(crate) async fn remove_part(&self, reference: &StorageReference, len: u64) -> Result<(), StoreError> {
        let had = fs::metadata(self.parts.join(reference.as_str())).await.map(|meta| meta.len());
        if had.is_ok_and(|had| had == len) {
            self.files.remove(reference).await?; // it may have got its name, and the answer was lost
        }
        files::remove(&self.parts, reference).await?;
        self.give_back(len);
        Ok(())
    }

    /// Removes a whole file.
    pub(crate) async fn remove_file(&self, reference: &StorageReference) -> Result<(), StoreError> {
        if let Some(len) = self.files.remove(reference).await? {
            self.give_back(len);
        }
        Ok(())
    }
}

/// A file that grows.
#[derive(Debug)]
pub(crate) struct Part(BufWriter<fs::File>);

impl Part {
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        Ok(self.0.write_all(bytes).await?)
    }

    /// Makes durable what was written.
    pub(crate) async fn sync(&mut self) -> Result<(), StoreError> {
        self.0.flush().await?;
        Ok(self.0.get_ref().sync_all().await?)
    }
}
