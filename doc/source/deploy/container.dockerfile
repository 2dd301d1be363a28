FROM registry.example.com/nova-compute:2026.2
USER root
RUN python3 -m pip install --no-cache-dir nova-multistore \
    && ln -sf "$(command -v nova-multistore-run)" "$(command -v nova-compute)"
USER nova
