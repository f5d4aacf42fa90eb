//! How messages are read and written: as everywhere in gRPC with protobuf, with smaller buffers.
//!
//! The library gives every request and every response a buffer of 8 KiB, of which most messages need
//! some hundred bytes: with many requests at once that is more than a processor keeps at hand. Larger
//! messages grow their buffer. And streams keep theirs for as long as they last.
//!
//! This crate never knows which messages these are.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// What a message is given to begin with: a put with its headers fits, and most answers do.
const MESSAGE_BUFFER_BYTES: usize = 1 << 10;
/// A stream's messages are sent on once they are so long together; the library's own value.
const MESSAGE_YIELD_BYTES: usize = 32 << 10;

/// Protobuf, from and to small buffers.
#[derive(Clone, Copy, Debug)]
pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(MESSAGE_BUFFER_BYTES, MESSAGE_YIELD_BYTES)
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(settings())
    }
}
