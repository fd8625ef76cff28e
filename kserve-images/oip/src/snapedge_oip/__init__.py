"""A small, strict Open Inference Protocol (V2) server, shared by the runtime images."""
