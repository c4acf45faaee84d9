"""The devices that an engine may be for, by name: what they can do by NVIDIA's data sheets, and which one this is."""
