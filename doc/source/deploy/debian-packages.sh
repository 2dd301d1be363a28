apt install ./python3-nova-multistore_*.deb ./nova-compute-multistore_*.deb
