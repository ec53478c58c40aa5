module example.com/idp

go 1.24
