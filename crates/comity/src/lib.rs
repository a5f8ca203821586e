//! The open implementation of the DMA messaging interoperability protocol.
