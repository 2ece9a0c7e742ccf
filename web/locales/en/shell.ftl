brand = Assay
