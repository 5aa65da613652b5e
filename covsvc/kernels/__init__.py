"""Array numerics of the limit methods: arrays in, arrays out."""
